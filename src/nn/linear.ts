/** @file The affine layer, with what adapters add to it. */
import { linear as product } from '../graph/ops/matmul.js';
import type { Tensor } from '../graph/tensor.js';
import { adapted, enter } from './scope.js';
import type { Scope } from './scope.js';

/**
 * y = x·Wᵀ + b + Σ adapters, weights `weight` [out, in] and `bias` [out].
 *
 * @param x [..., in]
 * @returns [..., out]
 */
export function linear(scope: Scope, x: Tensor, outFeatures: number, { bias = true } = {}): Tensor {
  const w = scope.weight('weight', [outFeatures, x.shape.at(-1)!]);
  const y = product(enter(scope, x), w, bias ? scope.weight('bias', [outFeatures]) : undefined);
  return adapted(scope, x, y, (adapter, wide) => adapter.linear(scope.path, wide, outFeatures));
}

/** @file The affine layer, with what adapters add to it. */
import { add } from '../graph/ops/arithmetic.js';
import { linear as product } from '../graph/ops/matmul.js';
import type { Tensor } from '../graph/tensor.js';
import type { Scope } from './scope.js';

/**
 * y = x·Wᵀ + b + Σ adapters, weights `weight` [out, in] and `bias` [out].
 *
 * @param x [..., in]
 * @returns [..., out]
 */
export function linear(scope: Scope, x: Tensor, outFeatures: number, { bias = true } = {}): Tensor {
  const w = scope.weight('weight', [outFeatures, x.shape.at(-1)!]);
  let y = product(x, w, bias ? scope.weight('bias', [outFeatures]) : undefined);
  for (const adapter of scope.adapters) {
    const extra = adapter.linear(scope.path, x, outFeatures);
    if (extra) y = add(y, extra);
  }
  return y;
}

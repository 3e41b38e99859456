/** @file Normalisation layers with learnt scale and shift. */
import * as ops from '../graph/ops/norm.js';
import type { Tensor } from '../graph/tensor.js';
import { enter } from './scope.js';
import type { Scope } from './scope.js';

/** Standardises the last axis of x [..., C]; weights `weight` and `bias` [C]. */
export function layerNorm(scope: Scope, x: Tensor, epsilon = 1e-5): Tensor {
  const c = x.shape.at(-1)!;
  return ops.layerNorm(enter(scope, x), scope.weight('weight', [c]), scope.weight('bias', [c]), epsilon);
}

/** Standardises `groups` groups of channels of x [B, C, ...]; weights `weight` and `bias` [C]. */
export function groupNorm(scope: Scope, x: Tensor, groups: number, epsilon = 1e-5): Tensor {
  const c = x.shape[1]!;
  return ops.groupNorm(enter(scope, x), groups, scope.weight('weight', [c]), scope.weight('bias', [c]), epsilon);
}

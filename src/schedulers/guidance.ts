/** @file Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598). */
import { sub } from '../graph/ops/arithmetic.js';
import { narrow } from '../graph/ops/layout.js';
import { Tensor } from '../graph/tensor.js';
import type { Operand } from '../graph/tensor.js';
import { combine } from './linear.js';
import type { Value } from './linear.js';

/** Halves of a batch in the usual order, [unconditional, conditional]: [2B, …] → two of [B, …]. */
export function splitGuided<V extends Value>(both: V): [uncond: V, cond: V] {
  if (both instanceof Tensor) {
    const half = both.shape[0]! / 2;
    return [narrow(both, 0, 0, half), narrow(both, 0, half, 2 * half)] as [V, V];
  }
  const half = both.length / 2;
  return [both.subarray(0, half), both.subarray(half)] as [V, V];
}

/** uncond + scale·(cond − uncond), [B, …]; 1 is no guidance. The scale may be a graph input for tensors. */
export function guide<V extends Value>(uncond: V, cond: V, scale: Operand): V {
  return combine([typeof scale === 'number' ? 1 - scale : sub(1, scale), uncond], [scale, cond]);
}

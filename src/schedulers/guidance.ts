/** @file Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598) and its rescaling. */
import { add, div, mul, sqrt, sub } from '../graph/ops/arithmetic.js';
import { narrow } from '../graph/ops/layout.js';
import { variance } from '../graph/ops/reduce.js';
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

/**
 * Scales each item of the guided output [B, …] to the deviation that the conditional one has, and mixes the two by
 * `factor` (Lin et al. 2024, arXiv 2305.08891, eq. 15–16; 0.7 there): against overexposure at high scales.
 */
export function rescaleGuidance(guided: Tensor, cond: Tensor, factor: Operand): Tensor {
  const axes = cond.shape.map((_, i) => i).slice(1);
  const deviation = (x: Tensor): Tensor => sqrt(variance(x, { axes, keepDims: true }));
  const ratio = div(deviation(cond), deviation(guided)); // [B, 1, …]
  return mul(guided, add(mul(sub(ratio, 1), factor), 1));
}

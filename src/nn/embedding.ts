/** @file Embeddings of times (and of other numbers that condition a diffusion model). */
import { silu } from '../graph/ops/activation.js';
import { add, cos, mul, sin } from '../graph/ops/arithmetic.js';
import { concat, unsqueeze } from '../graph/ops/layout.js';
import { literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { linear } from './linear.js';
import { enter } from './scope.js';
import type { Scope } from './scope.js';

export interface SinusoidOptions {
  /** Cosines before sines. */
  flipSinToCos?: boolean;
  /** Subtracted from the number of frequencies in the exponent's divisor. */
  downscaleFreqShift?: number;
}

/**
 * Sines and cosines of t at `dim`/2 frequencies falling from 1 to 1/10000 (DDPM, arXiv 2006.11239).
 *
 * @param t [B] float32
 * @param dim even
 * @returns [B, dim] float32: an angle of 1000 has no fraction left in half precision
 */
export function sinusoid(t: Tensor, dim: number, options: SinusoidOptions = {}): Tensor {
  const { flipSinToCos = false, downscaleFreqShift = 0 } = options;
  const half = dim / 2;
  // Rounded to float32 at each step as in diffusers: at t = 1000 a last bit of the frequency is 1e-4 of an angle.
  const slope = Math.fround(-Math.log(10000));
  const frequencies = Array.from({ length: half }, (_, i) =>
    Math.exp(Math.fround(Math.fround(slope * i) / (half - downscaleFreqShift))));
  const angle = mul(unsqueeze(t, 1), literal(frequencies, [1, half]));
  return concat(flipSinToCos ? [cos(angle), sin(angle)] : [sin(angle), cos(angle)], 1);
}

/**
 * The two-layer network that follows a sinusoid; `condition` [B, K] is first added through `cond_proj`.
 *
 * @param x [B, in]
 * @returns [B, width]
 */
export function embeddingMlp(scope: Scope, x: Tensor, width: number, condition?: Tensor): Tensor {
  const joined = condition
    ? add(enter(scope, x), linear(scope.at('cond_proj'), condition, x.shape[1]!, { bias: false }))
    : x;
  return linear(scope.at('linear_2'), silu(linear(scope.at('linear_1'), joined, width)), width);
}

/** @file Pearson correlation between two pictures, pixel by pixel. */
import { add, div, mul, sqrt, square, sub } from '../graph/ops/arithmetic.js';
import { mean } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';

/** Added to variances of pixels in [0, 1], so that a picture of one colour correlates 0 with anything, smoothly. */
const EPSILON = 1e-4;

/**
 * Σ(a − ā)(b − b̄) / √(Σ(a − ā)² Σ(b − b̄)²) of each pair, over all channels and pixels. Being free of brightness and
 * contrast, it is not raised by washing the picture out.
 *
 * @param a [B, C, H, W]
 * @param b [B, C, H, W]
 * @returns [B] in [−1, 1]
 */
export function correlation(a: Tensor, b: Tensor): Tensor {
  const axes = [1, 2, 3];
  const centre = (x: Tensor): Tensor => sub(x, mean(x, { axes, keepDims: true }));
  const [p, q] = [centre(a), centre(b)];
  const deviation = (x: Tensor): Tensor => sqrt(add(mean(square(x), { axes }), EPSILON));
  return div(mean(mul(p, q), { axes }), mul(deviation(p), deviation(q)));
}

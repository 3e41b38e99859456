/** @file Compressibility and its opposite, differentiable: an estimate of the size that a JPEG file would have. */
import { add, log, mul, square } from '../graph/ops/arithmetic.js';
import { sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { jpegCoefficients } from './jpeg-graph.js';
import { pixelReward } from './reward.js';
import type { DifferentiableReward } from './reward.js';

/** As in DDPO's reward, whose true file size this stands for. */
const QUALITY = 95;

/**
 * kB of headers and tables, and kB per unit of Σ log₂(1 + u²): least squares on 402 emoji pictures of 64 × 64, mean
 * error 44 bytes of 2750 (and within 20% on pictures of 256 × 256).
 */
const HEADER_KB = 0.602;
const SLOPE_KB = 0.196e-3;

/**
 * Estimated size in kB (1000 bytes) of a JPEG of quality 95: a + b·Σ log₂(1 + u²) over all quantised coefficients u,
 * not yet rounded. [B, 3, H, W] in [0, 1] → [B]
 *
 * The size is what a coefficient's bits cost, about log₂|u|. Spearman's correlation with the true size is 0.991 (0.986
 * with noise of deviation 0.02 added). Rounding u first, smoothly as Shin & Song do, gave no more correlation and a
 * gradient that vanishes at whole numbers; log₂(1 + |u|) gave 0.994 but descends slower, since it pulls hardest at the
 * coefficients that already are nearly 0. The distortion ‖I − JPEG(I)‖, another reading of DRaFT, gave 0.91.
 */
function estimatedKilobytes(images: Tensor): Tensor {
  const { luma, chroma } = jpegCoefficients(images, QUALITY);
  const bits = (u: Tensor): Tensor => sum(mul(log(add(1, square(u))), Math.LOG2E), { axes: [1, 2] });
  return add(mul(add(bits(luma), bits(chroma)), SLOPE_KB), HEADER_KB);
}

/** Minus the estimated size. The range is that of pictures of 64 × 64; it grows with the number of pixels. */
export function compressibility(name: string): DifferentiableReward {
  return pixelReward({
    name,
    description: `minus the estimated kB of a JPEG of quality ${QUALITY}: smooth, simple pictures`,
    range: [-6, -0.6],
    trace: (images) => mul(estimatedKilobytes(images), -1),
  });
}

/** The estimated size. */
export function incompressibility(name: string): DifferentiableReward {
  return pixelReward({
    name,
    description: `the estimated kB of a JPEG of quality ${QUALITY}: detail and texture`,
    range: [0.6, 6],
    trace: estimatedKilobytes,
  });
}

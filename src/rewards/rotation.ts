/** @file How different a picture is from itself turned by 90°, 180° and 270°. */
import { add, mul, neg } from '../graph/ops/arithmetic.js';
import { flip, swapLast } from '../graph/ops/layout.js';
import { correlation } from './correlation.js';
import { pixelReward, RewardError } from './reward.js';
import type { DifferentiableReward } from './reward.js';

/**
 * Rotational anti-correlation, −⅓ Σₖ corr(I, rotₖ(I)) for k = 90°, 180°, 270°. DRaFT (arXiv 2309.17400) names such a
 * reward without a formula; this one is ours. The correlations by 90° and 270° are equal, so one stands for both.
 */
export function rotation(name: string): DifferentiableReward {
  return pixelReward({
    name,
    description: 'minus the mean correlation of the image with itself turned by 90°, 180° and 270°',
    range: [-1, 0.4],
    trace(images) {
      const [, , height, width] = images.shape;
      if (height !== width) throw new RewardError(`reward ${name} turns images, so they must be square, not ${images}`);
      const quarter = correlation(images, flip(swapLast(images), [3]));
      const half = correlation(images, flip(images, [2, 3]));
      return neg(add(mul(quarter, 2 / 3), mul(half, 1 / 3)));
    },
  });
}

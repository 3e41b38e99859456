/** @file How symmetric a picture is about its middle line. */
import { flip } from '../graph/ops/layout.js';
import { correlation } from './correlation.js';
import { pixelReward } from './reward.js';
import type { DifferentiableReward } from './reward.js';

/** Left–right: mirrored about the vertical middle line; top–bottom: about the horizontal one. */
export type Mirror = 'left-right' | 'top-bottom';

/**
 * corr(I, mirror(I)). DRaFT (arXiv 2309.17400) rewards symmetry too but states no formula; this one is ours.
 */
export function symmetry(name: string, mirror: Mirror): DifferentiableReward {
  return pixelReward({
    name,
    description: `correlation of the image with its ${mirror} mirror image`,
    range: [-0.2, 1],
    trace: (images) => correlation(images, flip(images, [mirror === 'left-right' ? 3 : 2])),
  });
}

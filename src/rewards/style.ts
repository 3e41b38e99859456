/** @file The style of an emoji: drawn in three dimensions or flat. */
import { emoji, partOf } from '../loading/bundled.js';
import { clipHead } from './clip-head.js';
import type { DifferentiableReward } from './reward.js';

/** Log-odds of "3d" against "flat" by a linear head on the bundled emoji-clip's image embedding. */
export async function style(name: string): Promise<DifferentiableReward> {
  return clipHead({
    name,
    description: 'log-odds that an emoji is drawn in 3D, not flat',
    range: [-8, 8],
    clip: emoji.features,
    head: partOf(emoji, 'style-head', 'model.safetensors'),
  });
}

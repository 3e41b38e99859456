/** @file Text alignment on the bundled model: the cosine in its own small CLIP, or in the one kept as a judge. */
import { emoji, partOf } from '../loading/bundled.js';
import { clipScore } from './clip-score.js';
import type { DifferentiableReward } from './reward.js';

/**
 * `emoji-clip` is what is trained on. `emoji-judge`, of another shape and trained independently, is the held-out
 * reward: what only fools the first does not please the second.
 */
export type EmojiClip = 'emoji-clip' | 'emoji-judge';

export async function emojiClip(name: string, which: EmojiClip): Promise<DifferentiableReward> {
  const reward = await clipScore(name, partOf(emoji, which), { tokenizer: partOf(emoji, 'tokenizer') });
  return { ...reward, description: `cosine of image and prompt in the bundled ${which}`, range: [-0.1, 0.9] };
}

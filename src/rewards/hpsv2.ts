/** @file Human Preference Score v2 and v2.1 (Wu et al., arXiv 2306.09341), from its checkpoint as it is published. */
import { cleanForClip } from '../models/clean-text.js';
import { readOpenClip, VIT_H_14 } from '../loading/clip-checkpoint.js';
import { makeClip } from './clip-folder.js';
import { fitPadded } from './clip-pixels.js';
import { clipCosine } from './clip-score.js';
import type { DifferentiableReward } from './reward.js';

export interface HpsOptions {
  /** `HPS_v2_compressed.pt` or `HPS_v2.1_compressed.pt`. The two are not comparable. */
  readonly file: string;
  /** Folder of a CLIP tokenizer. */
  readonly tokenizer: string;
}

/**
 * cos(image, prompt) in a CLIP ViT-H/14 fine-tuned on what people prefer, without the learnt scale, as the authors'
 * `hpsv2.score` gives it (hpsv2/img_score.py); their benchmark prints 100 times as much.
 *
 * @throws FormatError naming the file that is missing or wrong
 */
export async function hpsV2(name: string, { file, tokenizer }: HpsOptions): Promise<DifferentiableReward> {
  const clip = await makeClip(await readOpenClip(file, VIT_H_14), name, { tokenizer, fit: fitPadded, clean: cleanForClip });
  return clipCosine(clip, { name, description: 'human preference: HPSv2', range: [0.1, 0.4] });
}

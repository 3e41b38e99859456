/** @file PickScore: which of two images people prefer for a prompt (Kirstain et al., arXiv 2305.01569). */
import { openClip } from './clip-folder.js';
import type { ClipOptions } from './clip-folder.js';
import { clipCosine } from './clip-score.js';
import type { DifferentiableReward } from './reward.js';

/**
 * exp(logit_scale) · cos(image, prompt) of `yuvalkirstain/PickScore_v1`, a CLIP ViT-H/14 fine-tuned on pairs of images
 * of which people chose one: the softmax of two scores is the chance of being chosen. The images of Stable Diffusion
 * score 20 to 23; some codes divide by 100, or leave the scale out.
 *
 * @param folder the model's, as transformers writes it
 * @throws FormatError naming the file that is missing or wrong
 */
export async function pickScore(
  name: string, folder: string, options: ClipOptions = {},
): Promise<DifferentiableReward> {
  const clip = await openClip(folder, name, options);
  return clipCosine(clip, { name, description: 'human preference: PickScore', range: [15, 26] }, clip.scale);
}

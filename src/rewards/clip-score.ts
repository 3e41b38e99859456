/** @file CLIPScore: how well an image fits its prompt (Hessel et al., arXiv 2104.08718). */
import { mul } from '../graph/ops/arithmetic.js';
import { sum } from '../graph/ops/reduce.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { openClip } from './clip-folder.js';
import type { ClipOptions } from './clip-folder.js';
import type { DifferentiableReward } from './reward.js';

/**
 * cos(image embedding, text embedding of the image's own prompt), of any CLIP model in transformers' layout. The paper
 * prints 2.5 · max(cos, 0), others 100 · cos; this is the cosine itself.
 */
export async function clipScore(
  name: string, folder: string, options: ClipOptions = {},
): Promise<DifferentiableReward> {
  const clip = await openClip(folder, name, options);
  const inputs = new Map<number, Tensor>();
  const textName = (batch: number): string => `${name}/text${batch}`;
  /** One input for each batch size, shared by all traces. */
  const texts = (batch: number): Tensor => {
    const known = inputs.get(batch) ?? input(textName(batch), [batch, clip.width]);
    inputs.set(batch, known);
    return known;
  };
  return {
    name,
    description: 'cosine between the embeddings of image and prompt in a CLIP model',
    range: [0, 0.5],
    differentiable: true,
    weights: clip.weights,
    trace: (images) => sum(mul(clip.embedImages(images), texts(images.shape[0]!)), { axes: [1] }),
    feeds: async (prompts) => ({ [textName(prompts.length)]: await clip.embedTexts(prompts) }),
    release: () => clip.release(),
  };
}

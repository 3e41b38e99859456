/** @file CLIPScore: how well an image fits its prompt (Hessel et al., arXiv 2104.08718). */
import { mul } from '../graph/ops/arithmetic.js';
import { sum } from '../graph/ops/reduce.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { openClip } from './clip-folder.js';
import type { Clip, ClipOptions } from './clip-folder.js';
import type { DifferentiableReward } from './reward.js';

/**
 * cos(image embedding, text embedding of the image's own prompt), of any CLIP model in transformers' layout. The paper
 * prints 2.5 · max(cos, 0), others 100 · cos; this is the cosine itself.
 *
 * @throws FormatError naming the file that is missing or wrong
 */
export async function clipScore(
  name: string, folder: string, options: ClipOptions = {},
): Promise<DifferentiableReward> {
  return clipCosine(await openClip(folder, name, options), {
    name, description: 'cosine between the embeddings of image and prompt in a CLIP model', range: [0, 0.5],
  });
}

/** scale · cos(image embedding, text embedding of the image's own prompt). `name` is the label of `clip`. */
export function clipCosine(
  clip: Clip, about: Pick<DifferentiableReward, 'name' | 'description' | 'range'>, scale = 1,
): DifferentiableReward {
  const inputs = new Map<number, Tensor>();
  const textName = (batch: number): string => `${about.name}/text${batch}`;
  /** One input for each batch size, shared by all traces. */
  const texts = (batch: number): Tensor => {
    const known = inputs.get(batch) ?? input(textName(batch), [batch, clip.width]);
    inputs.set(batch, known);
    return known;
  };
  return {
    ...about,
    differentiable: true,
    weights: clip.weights,
    trace: (images) => {
      const cosines = sum(mul(clip.embedImages(images), texts(images.shape[0]!)), { axes: [1] });
      return scale === 1 ? cosines : mul(cosines, scale);
    },
    feeds: async (prompts) => ({ [textName(prompts.length)]: await clip.embedTexts(prompts) }),
    release: () => clip.release(),
  };
}

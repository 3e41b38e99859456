/** @file CLIPScore: how well an image fits its prompt (Hessel et al., arXiv 2104.08718). */
import { maximum, mul } from '../graph/ops/arithmetic.js';
import { sum } from '../graph/ops/reduce.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { openClip } from './clip-folder.js';
import type { Clip, ClipOptions } from './clip-folder.js';
import type { DifferentiableReward } from './reward.js';

export interface ClipScoreOptions extends ClipOptions {
  /** `paper`: 2.5 · max(cos, 0), as the paper prints it. Default: the cosine itself; others print 100 times as much. */
  form?: 'cosine' | 'paper';
  /** Before each prompt: "A photo depicts " in the paper. Default: nothing, as codes for generated images have it. */
  prefix?: string;
}

/**
 * cos(image embedding, text embedding of the image's own prompt), of any CLIP model in transformers' layout.
 *
 * @throws FormatError naming the file that is missing or wrong
 */
export async function clipScore(
  name: string, folder: string, { form = 'cosine', prefix = '', ...options }: ClipScoreOptions = {},
): Promise<DifferentiableReward> {
  const paper = form === 'paper';
  const clean = options.clean ?? ((text: string): string => text);
  const cosine = clipCosine(await openClip(folder, name, { ...options, clean: (text) => clean(`${prefix}${text}`) }), {
    name,
    description: `${paper ? '2.5 · max(cosine, 0)' : 'cosine'} between the embeddings of image and prompt in a CLIP model`,
    range: paper ? [0, 1.25] : [0, 0.5],
  });
  return paper ? { ...cosine, trace: (images) => mul(maximum(cosine.trace(images), 0), 2.5) } : cosine;
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

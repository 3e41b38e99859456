/** @file A frozen network that makes a vector of an image, and what such a vector is good for as a reward. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { mul } from '../graph/ops/arithmetic.js';
import { normalize } from '../graph/ops/norm.js';
import { sum } from '../graph/ops/reduce.js';
import { input, weight } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { compile } from '../runtime/compile.js';
import type { Execution } from '../runtime/compile.js';
import type { DifferentiableReward } from './reward.js';

export interface ImageEncoder {
  /** Values of the frozen inputs that `embed` reads. */
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** Images [B, 3, H, W] in [0, 1], of any size → [B, D], of any length. */
  embed(images: Tensor): Tensor;
}

/** The vectors of images, float32 [N, D], in one run. */
async function embedImages(encoder: ImageEncoder, images: HostTensor, execution: Execution = {}): Promise<HostTensor> {
  const rows = encoder.embed(input('images', images.shape));
  const executable = await compile({ outputs: { rows } }, { ...execution, weights: encoder.weights });
  await using _ = deferred(() => executable.release());
  return (await executable.run({ images })).rows;
}

/**
 * The cosine of each image's vector with that of one picture.
 *
 * @param picture [3, H, W] in [0, 1], of any size
 */
export async function imageSimilarity(
  about: Pick<DifferentiableReward, 'name' | 'description' | 'range'>, encoder: ImageEncoder, picture: HostTensor,
): Promise<DifferentiableReward> {
  const row = await embedImages(encoder, host(picture.data, [1, ...picture.shape], 'float32'));
  const key = `${about.name}/picture`;
  return {
    ...about,
    differentiable: true,
    weights: new Map([...encoder.weights, [key, row]]),
    trace: (images) => sum(mul(normalize(encoder.embed(images)), normalize(weight(key, row.shape))), { axes: [1] }),
    feeds: async () => ({}),
  };
}

/** @file A reward model that `attune pretrain` has made: an image encoder with one output. */
import { FormatError } from '../formats/errors.js';
import { visionScore } from '../models/clip.js';
import { readComponent } from '../loading/component-files.js';
import { emoji, partOf } from '../loading/bundled.js';
import { frozenWeights, rootScope } from '../nn/scope.js';
import { fitSquare } from './clip-pixels.js';
import type { DifferentiableReward } from './reward.js';

/**
 * Log-odds that a picture is of the better kind that the model was trained on.
 *
 * @param folder a `CLIPVisionModelWithProjection` of transformers with `projection_dim` 1
 * @throws FormatError naming the file that is missing or wrong
 */
export async function rewardModel(
  name: string, folder: string, description = 'log-odds that a picture is of the better kind',
): Promise<DifferentiableReward> {
  const { config, weights } = await readComponent(folder, 'CLIPVisionModelWithProjection');
  if (config.projection_dim !== 1) {
    throw new FormatError(`${folder}/config.json`, `has ${config.projection_dim} outputs (projection_dim), not one score`,
      'Give a folder that attune pretrain made from a recipe with network: reward-model.');
  }
  const scope = rootScope(frozenWeights(`${name}/`));
  return {
    name,
    description,
    range: [-8, 8],
    differentiable: true,
    weights: new Map([...weights].map(([key, t]) => [`${name}/${key}`, t])),
    trace: (images) => visionScore(scope, config, fitSquare(images, config.image_size)),
    feeds: async () => ({}),
  };
}

/** Of emoji: drawn like a real one, not like a sample of the bundled model. */
export async function quality(name: string): Promise<DifferentiableReward> {
  return rewardModel(name, partOf(emoji, 'emoji-quality'), 'log-odds that an emoji is real, not a sample of the bundled model');
}

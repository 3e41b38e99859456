/** @file The small models that `attune pretrain` makes, the bundled one among them: SD 1.x's parts in any size. */
import type { UNetConfig } from '../config.js';
import type { ModelFamily } from './family.js';
import { oneEncoder, originalNames } from './sd.js';
import { stableDiffusionFolder, takesSizes, unetDenoiser, unetLora, unetTraining } from './unet.js';

export const small: ModelFamily<UNetConfig> = {
  name: 'small',
  listed: [{ name: 'models of attune pretrain', from: ['folder'], notes: 'any size of the same parts' }],
  denoiser: unetDenoiser,
  process: 'variance-preserving',
  conditions: oneEncoder,
  folder: { ...stableDiffusionFolder, owns: (config) => !takesSizes(config) },
  // A checkpoint of another size than the published ones has the names of the one that it is built like.
  singleFile: { names: originalNames, published: null },
  lora: { ...unetLora, baseModel: () => undefined },
  defaults: { guidance: 2, size: [512, 512], training: unetTraining },
};

/** @file The published image encoders by which pictures are compared: DreamSim, DINO, FID's Inception. */
import { div, sub } from '../graph/ops/arithmetic.js';
import { concat } from '../graph/ops/layout.js';
import { normalize } from '../graph/ops/norm.js';
import { mean } from '../graph/ops/reduce.js';
import { input, literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { normalizePixels } from '../models/clip.js';
import { readDino } from '../loading/dino-files.js';
import { readDreamSim } from '../loading/dreamsim-files.js';
import type { DreamSimType } from '../loading/dreamsim-files.js';
import { inceptionFeatures } from '../models/inception.js';
import type { InceptionResize } from '../models/inception.js';
import { readExactFile } from '../loading/read-exact.js';
import { frozenWeights, rootScope, weightShapes } from '../nn/scope.js';
import { fitSquareTorchvision, resizePillow } from './clip-pixels.js';
import type { ImageEncoder } from './image-encoder.js';

const imagenet = (x: Tensor): Tensor => div(sub(x, literal([0.485, 0.456, 0.406], [3, 1, 1])), literal([0.229, 0.224, 0.225], [3, 1, 1]));

/**
 * The vector whose cosine distance is DreamSim's: pictures resized to a square with Pillow's bicubic filter whatever
 * their shape, the branches' parts one after the other, their mean taken off, of length 1.
 *
 * @param folder what dreamsim_*_checkpoint.zip unpacks to
 * @throws FormatError naming the file that is missing or wrong
 */
export async function dreamSim(label: string, folder: string, type: DreamSimType): Promise<ImageEncoder> {
  const branches = await readDreamSim(folder, type);
  const scopes = branches.map((_, i) => rootScope(frozenWeights(`${label}/${i}/`)));
  return {
    weights: new Map(branches.flatMap(({ weights }, i) => [...weights].map(([name, t]) => [`${label}/${i}/${name}`, t] as const))),
    embed(images) {
      const parts = branches.map(({ side, pixels, trace }, i) => {
        const square = resizePillow(images, [side, side]);
        return trace(scopes[i]!, pixels === 'clip' ? normalizePixels(square) : imagenet(square));
      });
      const vector = parts.length === 1 ? parts[0]! : concat(parts, 1);
      return normalize(sub(vector, mean(vector, { axes: [1], keepDims: true })));
    },
  };
}

/** DINO's class token, of the picture's middle: shortest side to 8/7 of the network's, as its authors evaluate it. */
export async function dinoEncoder(label: string, file: string): Promise<ImageEncoder> {
  const { side, weights, trace } = await readDino(file);
  const scope = rootScope(frozenWeights(`${label}/`));
  return {
    weights: new Map([...weights].map(([name, t]) => [`${label}/${name}`, t])),
    embed: (images) => trace(scope, imagenet(fitSquareTorchvision(images, side, Math.round((side * 8) / 7)))),
  };
}

/** FID's 2048 features. @param file pt_inception-2015-12-05-6726825d.pth of pytorch-fid */
export async function inceptionEncoder(label: string, file: string, how: InceptionResize): Promise<ImageEncoder> {
  const shapes = weightShapes((scope) => inceptionFeatures(scope, input('x', [1, 3, 299, 299])));
  const remedy = 'Give pt_inception-2015-12-05-6726825d.pth of github.com/mseitzer/pytorch-fid/releases/tag/fid_weights.';
  const weights = await readExactFile(file, () => shapes, remedy);
  const scope = rootScope(frozenWeights(`${label}/`));
  return {
    weights: new Map([...weights].map(([name, t]) => [`${label}/${name}`, t])),
    embed: (images) => inceptionFeatures(scope, images, how),
  };
}

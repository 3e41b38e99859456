/** @file LPIPS of its published files, and likeness to a picture by it as a reward. */
import { FormatError } from '../formats/errors.js';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { neg } from '../graph/ops/arithmetic.js';
import { expand } from '../graph/ops/layout.js';
import { input, weight } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { lpips } from '../models/lpips.js';
import type { LpipsTrunk } from '../models/lpips.js';
import { readExactFile } from '../loading/read-exact.js';
import { frozenWeights, rootScope, weightShapes } from '../nn/scope.js';
import { resizePillow } from './clip-pixels.js';
import type { DifferentiableReward } from './reward.js';

export interface LpipsOptions {
  readonly trunk: LpipsTrunk;
  /** torchvision's file of the trunk. */
  readonly features: string;
  /** The package's file of its weights of the layers. */
  readonly lins: string;
}

/** Smallest side at which every trunk's last window still sees something. */
const LEAST = 64;

/** LPIPS as a piece of graph. */
export interface LpipsNetwork {
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** Distances [B] of images [B, 3, H, W]. @throws FormatError for images that are too small */
  distances(a: Tensor, b: Tensor): Tensor;
}

/** @throws FormatError naming the file that is missing or wrong */
export async function openLpips(name: string, { trunk, features, lins }: LpipsOptions): Promise<LpipsNetwork> {
  const x = input('x', [1, 3, LEAST, LEAST]);
  const shapes = weightShapes((s) => lpips(s, trunk, x, x));
  const weights = new Map<string, HostTensor>();
  for (const [path, ours] of [[features, (key: string) => key.startsWith('features.')], [lins, (key: string) => key.startsWith('lin')]] as const) {
    const found = await readExactFile(path, () => new Map([...shapes].filter(([key]) => ours(key))), `Give the file that belongs to ${trunk}.`);
    for (const [key, value] of found) weights.set(`${name}/${key}`, value);
  }
  const scope = rootScope(frozenWeights(`${name}/`));
  return {
    weights,
    distances(a, b) {
      const [, , height, width] = a.shape as [number, number, number, number];
      if (Math.min(height, width) < LEAST) throw new FormatError(name, `compares pictures of ${LEAST} pixels and more, not ${height} × ${width}`, 'Do without it for small pictures.');
      return lpips(scope, trunk, a, b);
    },
  };
}

/**
 * −LPIPS(image, picture): 0 for the picture itself.
 *
 * @param picture [3, H, W] in [0, 1]; resized to the images' size
 * @throws FormatError naming the file that is missing or wrong
 */
export async function lpipsReward(name: string, options: LpipsOptions, picture: HostTensor): Promise<DifferentiableReward> {
  const { weights, distances } = await openLpips(name, options);
  const key = `${name}/picture`;
  return {
    name,
    description: `likeness to a picture: minus LPIPS on ${options.trunk}`,
    range: [-1, 0],
    differentiable: true,
    weights: new Map([...weights, [key, host(picture.data, [1, ...picture.shape], 'float32')]]),
    trace(images) {
      const [, , height, width] = images.shape as [number, number, number, number];
      const other = resizePillow(weight(key, [1, ...picture.shape]), [height, width]);
      return neg(distances(images, expand(other, images.shape)));
    },
    feeds: async () => ({}),
  };
}

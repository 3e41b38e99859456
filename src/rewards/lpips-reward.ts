/** @file Likeness to a picture by LPIPS, as a reward. */
import { FormatError } from '../formats/errors.js';
import { openWeights } from '../formats/open-weights.js';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { neg } from '../graph/ops/arithmetic.js';
import { expand } from '../graph/ops/layout.js';
import { input, weight } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { lpips } from '../models/lpips.js';
import type { LpipsTrunk } from '../models/lpips.js';
import { readExact } from '../loading/read-exact.js';
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

/**
 * −LPIPS(image, picture): 0 for the picture itself.
 *
 * @param picture [3, H, W] in [0, 1]; resized to the images' size
 * @throws FormatError naming the file that is missing or wrong
 */
export async function lpipsReward(name: string, { trunk, features, lins }: LpipsOptions, picture: HostTensor): Promise<DifferentiableReward> {
  const x = input('x', [1, 3, LEAST, LEAST]);
  const shapes = weightShapes((s) => lpips(s, trunk, x, x));
  const weights = new Map<string, HostTensor>();
  for (const [path, ours] of [[features, (key: string) => key.startsWith('features.')], [lins, (key: string) => key.startsWith('lin')]] as const) {
    const file = await openWeights(path);
    await using _ = deferred(() => file.close());
    const found = await readExact(file, new Map([...shapes].filter(([key]) => ours(key))), `Give the file that belongs to ${trunk}.`);
    for (const [key, value] of found) weights.set(`${name}/${key}`, value);
  }
  const key = `${name}/picture`;
  weights.set(key, host(picture.data, [1, ...picture.shape], 'float32'));
  const scope = rootScope(frozenWeights(`${name}/`));
  return {
    name,
    description: `likeness to a picture: minus LPIPS on ${trunk}`,
    range: [-1, 0],
    differentiable: true,
    weights,
    trace(images) {
      const [, , height, width] = images.shape as [number, number, number, number];
      if (Math.min(height, width) < LEAST) throw new FormatError(name, `compares pictures of ${LEAST} pixels and more, not ${height} × ${width}`, 'Take another reward for small pictures.');
      const other = resizePillow(weight(key, [1, ...picture.shape]), [height, width]);
      return neg(lpips(scope, trunk, images, expand(other, images.shape)));
    },
    feeds: async () => ({}),
  };
}

/** @file Pictures moved a little and with noise on them, so that neither position nor single pixels give them away. */
import type { HostTensor } from '../../graph/dtype.js';
import { integers, normal, uniform } from '../../random/random.js';
import type { Key } from '../../random/random.js';
import { values } from '../parameters.js';
import { pictures } from './dataset.js';
import type { Pictures } from './dataset.js';

export interface Jitter {
  /** Pictures are moved by up to this many pixels either way; the edge is repeated. */
  readonly shift: number;
  /** Deviation of the noise added to pixels, at most; drawn anew for each picture. */
  readonly noise: number;
}

/**
 * Whole pictures, jittered: [B, 3, S, S], about [0, 1].
 *
 * @param key `stream` begins the names of the streams that are drawn from
 */
export function jittered(from: Pictures, indices: readonly number[], { shift, noise }: Jitter, key: Key): HostTensor {
  const stream = (name: string): Key => ({ ...key, stream: `${key.stream}-${name}` });
  const moves = integers(stream('shift'), 0, 2 * indices.length, 2 * shift + 1);
  const corners = indices.map((_, i) => [moves[2 * i]! - shift, moves[2 * i + 1]! - shift] as const);
  const image = pictures(from, indices, corners);
  const strengths = uniform(stream('noise-strength'), 0, indices.length);
  const pixels = values(image);
  const plane = pixels.length / indices.length;
  const noises = normal(stream('noise'), 0, pixels.length);
  for (let i = 0; i < pixels.length; i++) pixels[i]! += noise * strengths[Math.floor(i / plane)]! * noises[i]!;
  return image;
}

/** @file Pictures of a run: their addresses, and the element that shows one. */
import type { JSX } from 'preact';
import type { Picture, PictureOf } from '../src/studio/messages.js';
import { runPath } from './api.js';

/** @param size side in pixels that is enough: 128, 256 or 512; null for the file itself */
export const imageUrl = (run: string, { step, strength, index, time }: PictureOf, size: 128 | 256 | 512 | null = 256): string =>
  runPath(run, `images/${step}/${strength}/${index}?v=${time}${size === null ? '' : `&size=${size}`}`);

const tellOf = ({ prompt, step, strength, seed }: Picture): string =>
  `${prompt}, step ${step}${strength === 1 ? '' : `, strength ${strength}`}${seed === null ? '' : `, seed ${seed}`}`;

export function Shot({ run, picture, size = 256 }: { run: string; picture: Picture; size?: 128 | 256 | 512 | null }): JSX.Element {
  return <img src={imageUrl(run, picture, size)} alt={tellOf(picture)} loading="lazy" decoding="async" />;
}

/** Steps with pictures at full strength, ascending. */
export const stepsOf = (pictures: readonly Picture[]): number[] =>
  [...new Set(pictures.filter((p) => p.strength === 1).map((p) => p.step))].toSorted((a, b) => a - b);

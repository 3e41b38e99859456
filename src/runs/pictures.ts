/** @file The pictures of an evaluation: one file each that tells how it came about, and a labelled sheet of them all. */
import { join } from 'node:path';
import { writeWhole } from '../formats/atomic.js';
import { encodePng } from '../formats/image.js';
import { imageAt } from '../rewards/rows.js';
import { imageGrid } from '../formats/image-grid.js';
import type { HostTensor } from '../graph/dtype.js';
import type { EventOf } from './events.js';
import type { RunFolder } from './folder.js';
import type { RunView } from './view.js';

/** Pictures of one evaluation, prompt by prompt. */
export interface Pictures {
  /** [N, 3, H, W] in [0, 1]. */
  readonly images: HostTensor;
  /** N prompts. */
  readonly prompts: readonly string[];
}

export interface Taken {
  /** Updates that the weights have had. */
  readonly step: number;
  /** Of the LoRA. Default: 1. */
  readonly strength?: number;
  /** Of the first picture's noise, the others follow; null where a picture's noise is not of one seed. */
  readonly seed: number | null;
}

const SHEETS = 'samples';
const folderOf = (step: number): string => `step-${String(step).padStart(6, '0')}`;

/** Saves each picture, tells the log of it, and (at strength 1) makes the sheet of the step. */
export async function savePictures(folder: RunFolder, { images, prompts }: Pictures, { step, strength = 1, seed }: Taken): Promise<void> {
  const below = `${SHEETS}/${folderOf(step)}${strength === 1 ? '' : `/strength-${strength}`}`;
  const pictures = prompts.map((prompt, index) => ({
    index, prompt, file: `${below}/${String(index).padStart(3, '0')}.png`, ...(seed !== null && { seed: seed + index }),
  }));
  await folder.check();
  await Promise.all(pictures.map(async ({ file, ...picture }) => {
    const facts = Object.entries({ ...picture, strength, step }).map(([name, value]) => [name, String(value)] as const);
    await writeWhole(join(folder.path, file), await encodePng(imageAt(images, picture.index), Object.fromEntries(facts)));
  }));
  for (const picture of pictures) await folder.emit({ type: 'image', step, strength, ...picture });
  if (strength !== 1) return;
  const sheet = await imageGrid(prompts.map((_, i) => imageAt(images, i)), { columns: sheetColumns(prompts), labels: prompts, minWidth: 96 });
  const [, height, width] = sheet.shape as [number, number, number];
  await folder.sheet(`${SHEETS}/${folderOf(step)}.png`, await encodePng(sheet), width, height, step);
}

/** The pictures of one prompt side by side, and three prompts a row. */
const sheetColumns = (prompts: readonly string[]): number => 3 * prompts.filter((p) => p === prompts[0]).length;

/** The single pictures of a step, in the order of the evaluation; none of a run of before they were saved. */
export const picturesAt = ({ images }: RunView, step: number, strength = 1): EventOf<'image'>[] =>
  images.filter((i) => i.step === step && i.strength === strength).toSorted((a, b) => a.index - b.index);

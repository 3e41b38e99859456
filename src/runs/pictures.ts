/** @file The pictures of an evaluation: one file each that tells how it came about, and a labelled sheet of them all. */
import { join } from 'node:path';
import { writeWhole } from '../formats/atomic.js';
import { encodePng } from '../formats/image.js';
import { imageAt } from '../rewards/rows.js';
import { imageGrid } from '../formats/image-grid.js';
import type { HostTensor } from '../graph/dtype.js';
import type { EventOf, RunEvent } from './events.js';
import { openEventLog } from './event-log.js';
import type { RunFolder } from './folder.js';
import type { RunView } from './view.js';

/** Pictures of one evaluation, prompt by prompt. */
export interface Pictures {
  /** [N, 3, H, W] in [0, 1]. */
  readonly images: HostTensor;
  /** N prompts. */
  readonly prompts: readonly string[];
  /** Where they stand in the evaluation, if they are some of it. Default: all, in their order. */
  readonly places?: readonly number[];
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

/** Saves each picture, tells the log of it, and (of a whole evaluation, at strength 1) makes the sheet of the step. */
export async function savePictures(folder: Pick<RunFolder, 'path' | 'check' | 'emit' | 'sheet'>, { images, prompts, places }: Pictures, { step, strength = 1, seed }: Taken): Promise<void> {
  const below = `${SHEETS}/${folderOf(step)}${strength === 1 ? '' : `/strength-${strength}`}`;
  const pictures = prompts.map((prompt, i) => {
    const index = places?.[i] ?? i;
    return { index, prompt, file: `${below}/${String(index).padStart(3, '0')}.png`, ...(seed !== null && { seed: seed + index }) };
  });
  await folder.check();
  await Promise.all(pictures.map(async ({ file, ...picture }, i) => {
    const facts = Object.entries({ ...picture, strength, step }).map(([name, value]) => [name, String(value)] as const);
    await writeWhole(join(folder.path, file), await encodePng(imageAt(images, i), Object.fromEntries(facts)));
  }));
  for (const picture of pictures) await folder.emit({ type: 'image', step, strength, ...picture });
  if (strength !== 1 || places) return;
  const sheet = await imageGrid(prompts.map((_, i) => imageAt(images, i)), { columns: sheetColumns(prompts), labels: prompts, minWidth: 96 });
  const [, height, width] = sheet.shape as [number, number, number];
  await folder.sheet(`${SHEETS}/${folderOf(step)}.png`, await encodePng(sheet), width, height, step);
}

/** The pictures of one prompt side by side, and three prompts a row. */
const sheetColumns = (prompts: readonly string[]): number => 3 * prompts.filter((p) => p === prompts[0]).length;

/**
 * For who makes pictures of a run and is not the run: they go into its log as whole lines, which one process may add while
 * another does. Only pictures that the run did not make are told so.
 */
export async function besideRun(path: string): Promise<Pick<RunFolder, 'path' | 'check' | 'emit' | 'sheet'> & { close(): void }> {
  const log = await openEventLog(path);
  return {
    path, check: async () => {}, sheet: async () => {}, close: log.close,
    emit: (event) => log.append({ ...event, time: Date.now() } as RunEvent),
  };
}

/** The single pictures of a step, in the order of the evaluation; none of a run of before they were saved. */
export const picturesAt = ({ images }: RunView, step: number, strength = 1): EventOf<'image'>[] =>
  images.filter((i) => i.step === step && i.strength === strength).toSorted((a, b) => a.index - b.index);

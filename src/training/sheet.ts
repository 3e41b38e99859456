/** @file An evaluation's pictures as one labelled sheet. */
import { encodePng } from '../formats/image.js';
import { imageGrid } from '../formats/image-grid.js';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import type { Measured } from './evaluate.js';
import type { RunFolder } from '../runs/folder.js';

/** Pictures in a row of an evaluation's sheet, given the images of a prompt: three prompts a row. */
export const sheetColumns = (images: number): number => 3 * images;

/** Pictures of one prompt side by side. */
export async function saveGrid(folder: RunFolder, measured: Measured, step: number): Promise<void> {
  const sheet = await gridOf(measured);
  const [, height, width] = sheet.shape as [number, number, number];
  await folder.sheet(`step-${String(step).padStart(6, '0')}`, await encodePng(sheet), width, height, step);
}

async function gridOf({ images, prompts }: Pick<Measured, 'images' | 'prompts'>): Promise<HostTensor> {
  const pictures = prompts.map((_, i) => imageAt(images, i));
  const columns = sheetColumns(prompts.filter((p) => p === prompts[0]).length);
  return imageGrid(pictures, { columns, labels: prompts, minWidth: 96 });
}

/** Picture i of [N, 3, H, W] as [3, H, W]. */
export function imageAt(images: HostTensor, i: number): HostTensor {
  const [, ...shape] = images.shape;
  const size = shape.reduce((a, b) => a * b, 1);
  return host((images.data as Float32Array).subarray(i * size, (i + 1) * size), shape);
}

/** @file The evaluation pictures of a run folder, step by step: single files, or the sheets of runs from before there were such. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { imageSize, readImage, resizeImage } from '../../src/formats/image.js';
import { joinRows } from '../../src/rewards/rows.js';
import { loadPrompts } from '../../src/training/prompts.js';
import type { RunConfig } from '../../src/training/config.js';

export interface Shown {
  readonly step: number;
  readonly prompts: readonly string[];
  /** [N, 3, 64, 64] in [0, 1], prompt by prompt. */
  readonly images: HostTensor;
}

const SIDE = 64;
/** Of sheets (src/runs/pictures.ts, src/formats/image-grid.ts): pictures are doubled, with gaps, and a label below. */
const [DOUBLED, GAP, LABEL] = [2 * SIDE, 4, 18];

/** The pictures of a sheet, made small again; they differ from the single files by the two interpolations. */
async function ofSheet(path: string, count: number, perPrompt: number): Promise<HostTensor> {
  const sheet = await readImage(path);
  const { width } = imageSize(sheet);
  const columns = Math.min(3 * perPrompt, count);
  return joinRows(Array.from({ length: count }, (_, i) => {
    const [left, top] = [GAP + (i % columns) * (DOUBLED + GAP), GAP + Math.floor(i / columns) * (DOUBLED + GAP + LABEL)];
    const cell = new Float32Array(3 * DOUBLED * DOUBLED);
    const plane = sheet.data.length / 3;
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < DOUBLED; y++) {
        const from = c * plane + (top + y) * width + left;
        cell.set((sheet.data as Float32Array).subarray(from, from + DOUBLED), (c * DOUBLED + y) * DOUBLED);
      }
    }
    const small = resizeImage(host(cell, [3, DOUBLED, DOUBLED]), SIDE, SIDE);
    return host(small.data, [1, 3, SIDE, SIDE]);
  }));
}

/** All evaluations of a run, the base model's first. */
export async function evaluationPictures(folder: string, config: RunConfig): Promise<Shown[]> {
  const { prompts: list } = await loadPrompts(config.evaluation.promptSet ?? config.prompts);
  const { prompts: count, images } = config.evaluation;
  const prompts = list.slice(0, count).flatMap((p) => new Array<string>(images).fill(p));
  const samples = join(folder, 'samples');
  const names = await readdir(samples);
  const steps = [...new Set(names.flatMap((n) => /^step-(\d+)/.exec(n)?.[1] ?? []))].toSorted();
  return Promise.all(steps.map(async (step): Promise<Shown> => {
    const name = `step-${step}`;
    if (!names.includes(name)) return { step: Number(step), prompts, images: await ofSheet(join(samples, `${name}.png`), prompts.length, images) };
    const single = await Promise.all(prompts.map(async (_, i) => {
      const image = await readImage(join(samples, name, `${String(i).padStart(3, '0')}.png`));
      return host(image.data, [1, ...image.shape]);
    }));
    return { step: Number(step), prompts, images: joinRows(single) };
  }));
}

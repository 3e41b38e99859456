/** @file The files of a search: a picture of each winner, a sheet beside the base model's, and the trace. */
import { join } from 'node:path';
import { numberText } from '../evaluation/ticks.js';
import { writeAtomic } from '../formats/atomic.js';
import { imageGrid } from '../formats/image-grid.js';
import { writePng } from '../formats/image.js';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import type { TraceEntry } from '../search/candidate.js';

/** One prompt's result. */
export interface Found {
  /** The picture, as it is in the folder. */
  readonly file: string;
  readonly prompt: string;
  readonly score: number;
  /** Of the picture that sampling without a search gives. */
  readonly baseScore: number;
  /** Where the winner comes from. */
  readonly winner: TraceEntry;
  readonly denoiserCalls: number;
  readonly rewardQueries: number;
}

/** What stays in memory of a prompt until the sheet is made. */
export interface Pair {
  readonly found: Found;
  readonly base: HostTensor; // [3, H, W]
  readonly best: HostTensor; // [3, H, W]
}

/** Prompts beside each other on the sheet. */
const COLUMNS = 8;
/** Small pictures are enlarged up to about this. */
const CELL = 192;
/** Sheets are held in memory, so they have an end. */
const SHEET_PIXELS = 2 ** 24;

/** How many prompts a sheet has room for. */
export const pairsOnSheet = (width: number, height: number): number =>
  Math.max(1, Math.floor(SHEET_PIXELS / (2 * Math.max(width * height, CELL * CELL))));

/** The change of the score, for people. */
export const change = ({ baseScore, score }: Found): string => `${numberText(baseScore)} → ${numberText(score)}`;

/** The base model's pictures with their prompts, and below each of them the winner with the scores. */
async function sheet(pairs: readonly Pair[]): Promise<HostTensor> {
  const columns = Math.min(COLUMNS, pairs.length);
  const { shape, data } = pairs[0]!.base;
  const white = host(new Float32Array(data.length).fill(1), shape);
  const images: HostTensor[] = [];
  const labels: string[] = [];
  for (let first = 0; first < pairs.length; first += columns) {
    const row = Array.from({ length: columns }, (_, i) => pairs[first + i]);
    images.push(...row.map((pair) => pair?.base ?? white), ...row.map((pair) => pair?.best ?? white));
    labels.push(...row.map((pair) => pair?.found.prompt ?? ''), ...row.map((pair) => (pair ? change(pair.found) : '')));
  }
  return imageGrid(images, { columns, labels, minWidth: CELL });
}

/** Writes `trace.jsonl`: a line for each query of the reward, prompt by prompt. */
export async function writeTrace(
  folder: string, traces: readonly (readonly TraceEntry[])[], prompts: readonly string[],
): Promise<string> {
  const file = join(folder, 'trace.jsonl');
  const lines = traces.flatMap((trace, item) =>
    trace.map((entry) => JSON.stringify({ item, prompt: prompts[item], ...entry })));
  await writeAtomic(file, `${lines.join('\n')}\n`);
  return file;
}

/** Writes `grid.png`. */
export async function writeSheet(folder: string, pairs: readonly Pair[]): Promise<string> {
  const file = join(folder, 'grid.png');
  await writePng(file, await sheet(pairs));
  return file;
}

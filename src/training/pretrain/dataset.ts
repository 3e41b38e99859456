/** @file A folder of captioned images, held in memory as bytes. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { z } from 'zod';
import { shown } from '../../formats/errors.js';
import { readImage, resizeImage } from '../../formats/image.js';
import { isObject } from '../../formats/json.js';
import { problemOf } from '../../formats/plain-issues.js';
import { jsonLines } from '../../formats/records.js';
import { linesOf, readTextFile } from '../../formats/text-file.js';
import { MOST_BYTES, MOST_PROMPT } from '../../formats/whole-file.js';
import type { HostTensor } from '../../graph/dtype.js';
import { host } from '../../graph/dtype.js';
import { permutation } from '../../random/random.js';

/** One line of `metadata.jsonl`; further fields (name, style, group, …) are kept for evaluation. */
const line = z.looseObject({
  file: z.string().min(1).max(4096),
  captions: z.array(z.string().trim().min(1).max(MOST_PROMPT)),
  /** How often each caption is drawn; equal by default. */
  weights: z.array(z.number().nonnegative()).optional(),
  name: z.string().optional(),
  prompt: z.string().optional(),
  style: z.string().optional(),
  phrases: z.array(z.string()).optional(),
});

export type DatasetRecord = z.infer<typeof line>;

export interface Pictures {
  readonly count: number;
  readonly size: number;
  /** All pictures, [N, 3, size, size], 0 to 255. */
  readonly pixels: Uint8Array;
}

export interface Dataset extends Pictures {
  readonly records: readonly DatasetRecord[]; // N
}

/** Ours, or what image folders of Hugging Face's datasets have: `file_name`, and one or more captions as `text`. */
function renamed(value: unknown): unknown {
  if (!isObject(value)) return value;
  const { file_name: name, file = name, text, caption, prompt, captions = text ?? caption ?? prompt ?? [] } = value;
  return { ...value, file, captions: typeof captions === 'string' ? [captions] : captions };
}

/** A problem in the user's folder: file, line and remedy. */
export class DatasetError extends Error {
  override readonly name = 'DatasetError';
}

/** How a folder is read. */
export interface ReadOptions {
  readonly onProgress?: OnProgress;
  /** Told what is passed over. */
  readonly onWarning?: (text: string) => void;
  /** Whether an image without caption is an error; by default it is. */
  readonly captioned?: boolean;
}

async function readMetadata(folder: string, { captioned = true, onWarning }: ReadOptions): Promise<DatasetRecord[]> {
  const path = join(folder, 'metadata.jsonl');
  if (!(await stat(path).catch(() => null))) return captionFiles(folder, captioned, onWarning);
  return jsonLines(await readTextFile(path, MOST_BYTES.list), path).map(({ where, value }) => {
    const parsed = line.safeParse(renamed(value));
    if (!parsed.success) {
      const problem = problemOf(parsed.error, renamed(value), line);
      throw new DatasetError(`${where}: ${problem.path || 'the line'}: ${problem.text}`);
    }
    const { captions, weights } = parsed.data;
    if (captioned && captions.length === 0) {
      throw new DatasetError(`${where}: has no caption; give it as "captions": ["…"], or as "text", "caption" or "prompt"`);
    }
    if (weights && weights.length !== captions.length) {
      throw new DatasetError(`${where}: ${weights.length} weights for ${captions.length} captions`);
    }
    return parsed.data;
  });
}


/** The pictures of a folder by name. What is none, or hidden (`._x.png` is no picture but macOS's notes of one), is told. */
async function imageFiles(folder: string, onWarning?: (text: string) => void): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => {
    throw new DatasetError(`no folder ${shown(folder)}`);
  });
  const isPicture = (name: string): boolean => /^[^.].*\.(png|jpe?g|webp)$/i.test(name);
  const names = entries.map((entry) => entry.name).toSorted();
  const over = entries.filter((e) => !isPicture(e.name) && (e.isDirectory() || !/^[^.].*\.txt$/i.test(e.name)))
    .map((entry) => shown(entry.name) + (entry.isDirectory() ? '/' : '')).toSorted();
  if (over.length > 0) {
    const [few, more] = [over.slice(0, 3).join(', '), over.length - 3];
    onWarning?.(`${shown(folder)}: passed over, not being png, jpg or webp: ${few}${more > 0 ? ` and ${more} more` : ''}`);
  }
  return names.filter(isPicture);
}

/** Without `metadata.jsonl`: pictures with a text file of the same name, one caption a line. */
async function captionFiles(
  folder: string, captioned: boolean, onWarning: ReadOptions['onWarning'],
): Promise<DatasetRecord[]> {
  const files = await imageFiles(folder, onWarning);
  if (files.length === 0) {
    throw new DatasetError(`${folder} has neither metadata.jsonl nor images (png, jpg, webp) with .txt captions`);
  }
  return Promise.all(files.map(async (file) => {
    const path = join(folder, file.replace(/\.\w+$/, '.txt'));
    const text = (await stat(path).catch(() => null)) ? await readTextFile(path, MOST_BYTES.note) : '';
    const captions = linesOf(text).map((s) => s.trim()).filter(Boolean);
    if (captioned && captions.length === 0) throw new DatasetError(`${file} has no caption: write one into ${path}`);
    return { file, captions };
  }));
}

type OnProgress = (done: number, total: number) => void;

/** Reads images, each resized to `size` × `size`. */
export async function decodePictures(paths: readonly string[], size: number, onProgress?: OnProgress): Promise<Pictures> {
  const plane = 3 * size * size;
  const pixels = new Uint8Array(paths.length * plane);
  for (const [i, path] of paths.entries()) {
    const image = await readImage(path);
    const fitted = image.shape[1] === size && image.shape[2] === size ? image : await resizeImage(image, size, size);
    setPicture(pixels, i, fitted.data as Float32Array);
    if (i % 100 === 99) onProgress?.(i + 1, paths.length);
  }
  onProgress?.(paths.length, paths.length);
  return { count: paths.length, size, pixels };
}

/** Stores the values of picture i (or of several from there on) as bytes, cut to [0, 1]. */
export function setPicture(pixels: Uint8Array, i: number, values: Float32Array): void {
  const start = i * values.length;
  for (let k = 0; k < values.length; k++) pixels[start + k] = Math.round(Math.min(1, Math.max(0, values[k]!)) * 255);
}

/**
 * Reads a folder of captioned images, each resized to `size` × `size`.
 *
 * @throws DatasetError naming the file (and line) that is missing, outside the folder or not an image
 */
export async function loadDataset(folder: string, size: number, options: ReadOptions = {}): Promise<Dataset> {
  const { onProgress } = options;
  const records = await readMetadata(folder, options);
  const root = await realpath(folder);
  const paths: string[] = [];
  for (const { file } of records) {
    const path = await realpath(join(root, file)).catch(() => {
      throw new DatasetError(`${file}: no such image in ${folder}`);
    });
    if (!path.startsWith(root + sep)) throw new DatasetError(`${file} lies outside ${folder}`);
    paths.push(path);
  }
  return { records, ...(await decodePictures(paths, size, onProgress)) };
}

/**
 * Reads all images of some folders, whatever they show; `grid.png`, in which `attune sample` shows all others, is left out.
 *
 * @throws DatasetError naming a folder without images
 */
export async function loadPictures(
  folders: readonly string[], size: number, { onProgress, onWarning }: Omit<ReadOptions, 'captioned'> = {},
): Promise<Pictures> {
  const paths: string[] = [];
  for (const folder of folders) {
    const files = (await imageFiles(folder, onWarning)).filter((f) => f !== 'grid.png');
    if (files.length === 0) throw new DatasetError(`${folder} has no images (png, jpg, webp)`);
    for (const f of files) paths.push(join(folder, f));
  }
  return decodePictures(paths, size, onProgress);
}

/** Where a picture is looked at: its corner, in pixels; outside the picture the edge is repeated. */
export type Corner = readonly [x: number, y: number];

/**
 * Windows of pictures as one tensor [B, 3, side, side] in [0, 1]; by default whole pictures.
 *
 * @param corners one per picture; (0, 0) shows it as it is
 */
export function pictures(
  from: Pictures,
  indices: readonly number[],
  corners: readonly Corner[] = [],
  side = from.size,
): HostTensor {
  const { size, pixels } = from;
  const data = new Float32Array(indices.length * 3 * side * side);
  const inside = (v: number): number => Math.min(size - 1, Math.max(0, v));
  let at = 0;
  indices.forEach((index, i) => {
    const [x0, y0] = corners[i] ?? [0, 0];
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < side; y++) {
        const row = ((index * 3 + c) * size + inside(y + y0)) * size;
        for (let x = 0; x < side; x++) data[at++] = pixels[row + inside(x + x0)]! / 255;
      }
    }
  });
  return host(data, [indices.length, 3, side, side]);
}

/** The caption that a number in [0, 1) picks, by the record's weights. */
export function pickCaption(record: DatasetRecord, u: number): string {
  const weights = record.weights ?? record.captions.map(() => 1);
  let rest = u * weights.reduce((a, b) => a + b, 0);
  const at = weights.findIndex((w) => (rest -= w) < 0);
  return record.captions[at < 0 ? record.captions.length - 1 : at]!;
}

/**
 * The pictures of a step: each epoch goes through all of them in a new order, whole batches only.
 *
 * @throws DatasetError if there are fewer pictures than a batch takes
 */
export function epochBatch(key: { seed: number; stream: string }, step: number, count: number, batch: number): number[] {
  const perEpoch = Math.floor(count / batch);
  if (perEpoch === 0) throw new DatasetError(`${count} pictures are fewer than a batch of ${batch}: lower training.batch in the recipe`);
  const order = permutation({ ...key, step: Math.floor(step / perEpoch) }, 0, count);
  return Array.from(order.subarray((step % perEpoch) * batch, ((step % perEpoch) + 1) * batch));
}

/** @file Pairs of pictures of one prompt, the better one first, listed in a table or JSON file beside the pictures. */
import { realpath, stat } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { z } from 'zod';
import { readImage } from '../formats/image.js';
import { problemOf } from '../formats/plain-issues.js';
import { readRecords } from '../formats/records.js';
import { MOST_PROMPT } from '../formats/whole-file.js';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { DatasetError } from './pretrain/dataset.js';

/** Paths of existing files. */
export interface ImagePair {
  readonly prompt: string;
  readonly winner: string;
  readonly loser: string;
}

const row = z.object({ prompt: z.string().max(MOST_PROMPT), winner: z.string().min(1).max(4096), loser: z.string().min(1).max(4096) });

/**
 * Reads the list and checks every path. Paths are relative to the list's folder and stay inside it.
 *
 * @throws DatasetError or FormatError, naming the file and line that is wrong, missing or outside
 */
export async function readPairs(path: string): Promise<ImagePair[]> {
  if (!(await stat(path).catch(() => null))) {
    throw new DatasetError(`there is no list of image pairs ${path}; it must be a .csv, .tsv, .jsonl, .json or .parquet file`);
  }
  const rows = await readRecords(path, Object.keys(row.shape).map((name) => [name]));
  if (rows.length === 0) throw new DatasetError(`${path} lists no pair`);
  const root = await realpath(dirname(path));
  const known = new Map<string, string>();
  const inside = async (file: string, where: string): Promise<string> => {
    const real = known.get(file) ?? await realpath(join(root, file)).catch(() => {
      throw new DatasetError(`${where}: there is no image ${file} in ${root}`);
    });
    if (!real.startsWith(root + sep)) throw new DatasetError(`${where}: ${file} lies outside ${root}`);
    known.set(file, real);
    return real;
  };
  const pairs: ImagePair[] = [];
  for (const { where, value } of rows) {
    const parsed = row.safeParse(value);
    if (!parsed.success) {
      const { path, text } = problemOf(parsed.error, value, row);
      throw new DatasetError(`${where}: ${path || 'the line'}: ${text}`);
    }
    const { prompt, winner, loser } = parsed.data;
    pairs.push({ prompt, winner: await inside(winner, where), loser: await inside(loser, where) });
  }
  return pairs;
}

/** Pictures filled into size × size, what is too long cropped on both sides: [N, 3, size, size] in [0, 1]. */
export async function readPictures(paths: readonly string[], size: number): Promise<HostTensor> {
  const plane = 3 * size * size;
  const data = new Float32Array(paths.length * plane);
  for (const [i, path] of paths.entries()) {
    data.set((await readImage(path, { size: { width: size, height: size } })).data as Float32Array, i * plane);
  }
  return host(data, [paths.length, 3, size, size]);
}

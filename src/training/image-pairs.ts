/** @file Pairs of pictures of one prompt, the better one first, listed in a CSV or JSONL file beside the pictures. */
import { realpath } from 'node:fs/promises';
import { dirname, extname, join, sep } from 'node:path';
import { z } from 'zod';
import { csvRows } from '../formats/csv.js';
import { readImage } from '../formats/image.js';
import { parseJson } from '../formats/json.js';
import { isMissing, MOST_PROMPT, readList } from '../formats/whole-file.js';
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

/** Each row with where it stands, unchecked. */
type Rows = [where: string, value: unknown][];

function jsonRows(text: string, path: string): Rows {
  return text.split('\n').flatMap((line, i): Rows => {
    if (line.trim() === '') return [];
    const where = `${path}:${i + 1}`;
    try {
      return [[where, parseJson(line, where)]];
    } catch {
      throw new DatasetError(`${where}: not JSON. Each line is {"prompt": "…", "winner": "a.png", "loser": "b.png"}`);
    }
  });
}

function tableRows(text: string, path: string): Rows {
  const [header, ...rows] = csvRows(text).filter((cells) => cells.some((cell) => cell.trim() !== ''));
  const names = (header ?? []).map((cell) => cell.trim().toLowerCase());
  for (const name of Object.keys(row.shape)) {
    if (!names.includes(name)) throw new DatasetError(`${path} has no column "${name}"; its first line must name prompt, winner and loser`);
  }
  return rows.map((cells, i) => [`${path}, row ${i + 2}`, Object.fromEntries(names.map((name, k) => [name, cells[k]?.trim()]))]);
}

/**
 * Reads the list and checks every path. Paths are relative to the list's folder and stay inside it.
 *
 * @throws DatasetError naming the file and line that is wrong, missing or outside
 */
export async function readPairs(path: string): Promise<ImagePair[]> {
  const text = (await readList(path).catch((cause: unknown) => {
    if (isMissing(cause)) throw new DatasetError(`there is no list of image pairs ${path}; it must be a .csv or .jsonl file`);
    throw cause;
  })).replace(/^\ufeff/, '');
  const rows = extname(path).toLowerCase() === '.csv' ? tableRows(text, path) : jsonRows(text, path);
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
  for (const [where, value] of rows) {
    const parsed = row.safeParse(value);
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!;
      throw new DatasetError(`${where}: ${issue.path.join('.') || 'the line'}: ${issue.message}`);
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

/** @file Pairs of pictures as data of a reward model: the preferred ones, and beside each the other one. */
import { extname } from 'node:path';
import { RECORD_ENDINGS } from '../../formats/records.js';
import { readPairs } from '../image-pairs.js';
import { decodePictures } from './dataset.js';
import type { Dataset, Pictures } from './dataset.js';

/** Whether data are a list of pairs and not a folder. */
export const isPairList = (path: string): boolean => RECORD_ENDINGS.includes(extname(path).toLowerCase());

/**
 * Reads a list of pairs, as `--method dpo` reads it, each picture resized to `size` × `size`; prompts are not looked at.
 *
 * @throws DatasetError or FormatError as `readPairs`
 */
export async function loadPairs(path: string, size: number, onProgress: (done: number, total: number) => void): Promise<{ winners: Dataset; losers: Pictures }> {
  const pairs = await readPairs(path);
  const winners = await decodePictures(pairs.map((pair) => pair.winner), size, onProgress);
  return { winners: { ...winners, records: [] }, losers: await decodePictures(pairs.map((pair) => pair.loser), size, onProgress) };
}

/** @file Mean and covariance of the real pictures' features, kept beside a model for the Fréchet distance. */
import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ClipFeatures } from '../src/evaluation/features.js';
import { gaussianStatistics } from '../src/evaluation/frechet.js';
import { readStatistics, writeStatistics } from '../src/evaluation/statistics-file.js';
import type { GaussianStatistics } from '../src/evaluation/frechet.js';
import { openSafetensors } from '../src/formats/safetensors.js';
import { pictures } from '../src/training/pretrain/dataset.js';
import type { Dataset } from '../src/training/pretrain/dataset.js';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** What the statistics were made of, as their file tells. */
async function madeOf(path: string): Promise<Readonly<Record<string, string>> | null> {
  const source = await openSafetensors(path).catch(() => null);
  await source?.close();
  return source?.metadata ?? null;
}

/**
 * The statistics in `<root>/statistics/real.safetensors`; made anew, with a word about it, if they are missing or were
 * made of other pictures or by another emoji-clip.
 *
 * @param clip the features of `<root>/emoji-clip`
 */
export async function realStatistics(
  root: string, clip: ClipFeatures, dataset: Dataset,
): Promise<GaussianStatistics> {
  const path = join(root, 'statistics', 'real.safetensors');
  const current = {
    images: `all ${dataset.records.length} pictures of models/data, ${dataset.size} x ${dataset.size}`,
    pixels_sha256: sha256(dataset.pixels),
    features_sha256: sha256(await readFile(join(root, 'emoji-clip', 'model.safetensors'))),
  };
  const known = await madeOf(path);
  if (known && Object.entries(current).every(([key, value]) => known[key] === value)) return readStatistics(path);
  console.error(`${path}: made anew, of ${current.images}`);
  await mkdir(dirname(path), { recursive: true });
  const features = await clip.images(pictures(dataset, dataset.records.map((_, i) => i)));
  await writeStatistics(path, gaussianStatistics(features), current);
  return readStatistics(path);
}

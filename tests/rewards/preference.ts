/** @file What the tests of the published preference rewards share: their fixtures, and the comparison with PyTorch. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { openWeights } from '../../src/formats/open-weights.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import type { WeightSource } from '../../src/formats/weights.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { openGradient } from '../../src/rewards/gradient.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import type { DifferentiableReward } from '../../src/rewards/reward.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { loadFixture, maxError } from '../models/fixture.js';
import { checkGradient } from './helpers.js';
import type { Images } from './helpers.js';

export const fixturePath = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

/** The small vocabulary that the CLIP fixtures were made with. */
export const SMALL_TOKENIZER = fixturePath('pipeline_sd1/tokenizer');

/** Names and shapes of a full-size checkpoint, as a source that cannot be read. */
export async function publishedShapes(name: 'hpsv2' | 'image_reward'): Promise<WeightSource> {
  const text = gunzipSync(await readFile(fixturePath('keys_preference.json.gz'))).toString();
  const shapes = (JSON.parse(text) as Record<string, Record<string, number[]>>)[name]!;
  return {
    where: name,
    metadata: {},
    tensors: new Map(Object.entries(shapes).map(([key, shape]) => [key, { dtype: 'float32' as const, shape }])),
    read: () => Promise.reject(new Error('nothing is to be read')),
    close: async () => {},
  };
}

/**
 * Opens a reward as a user writes it, and compares its scores and gradients with those that the published code's models
 * gave in PyTorch; then its gradient with finite differences, and two of it in one graph.
 */
export async function compareWithPublished(spec: string, name: string): Promise<void> {
  const fixture = await loadFixture('preference_io');
  const prompts = fixture.meta['prompts'] as string[];
  const images = fixture.get('images') as Images;
  const reward = await openRewards([parseReward(spec)]) as DifferentiableReward;
  const expected = fixture.get(`${name}/scores`);
  const scale = Math.max(1, ...Array.from(expected.data as Float32Array, Math.abs));

  const scorer = await openGradient(reward, images.shape as [number, 3, number, number], { threads: 1 });
  const { score, gradient } = await scorer.run(images, prompts);
  await scorer.release();
  expect(maxError({ ...expected, data: score }, expected) / scale).toBeLessThan(1e-4);
  const reference = fixture.get(`${name}/gradient`);
  const largest = Math.max(...Array.from(reference.data as Float32Array, Math.abs));
  expect(maxError(gradient, reference) / largest).toBeLessThan(1e-3);
  await checkGradient(reward, images, prompts);

  const [first, second] = Array.from(await openScorer(reward, { batch: 1 }).score(images, prompts.toReversed()));
  expect(Math.abs(first! - score[0]!) / scale).toBeGreaterThan(1e-3);
  expect(Math.abs(second! - score[1]!) / scale).toBeGreaterThan(1e-3);
  const twice = await openRewards([parseReward(spec), parseReward(spec)]);
  const sum = await openScorer(twice).score(images, prompts);
  score.forEach((s, i) => expect(sum[i]! / scale).toBeCloseTo((2 * s) / scale, 4));
  await reward.release?.();
  await twice.release?.();
}

/** Writes copies of a checkpoint with something changed, `<name>.safetensors` in a folder, and returns their paths. */
export async function changedCopies(
  file: string, folder: string,
): Promise<(name: string, change: (all: Map<string, HostTensor>) => void) => Promise<string>> {
  const source = await openWeights(file);
  const tensors = await readAll(source);
  await source.close();
  return async (name, change) => {
    const all = new Map(tensors);
    change(all);
    const path = join(folder, `${name}.safetensors`);
    await writeSafetensors(path, all);
    return path;
  };
}

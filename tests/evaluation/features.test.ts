import { afterAll, beforeAll, expect, test } from 'vitest';
import { rm } from 'node:fs/promises';
import { diversity } from '../../src/evaluation/diversity.js';
import { openFeatures } from '../../src/evaluation/features.js';
import { captionRanks } from '../../src/evaluation/retrieval.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { clipScore } from '../../src/rewards/clip-score.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { pictures, tinyClip, TOKENIZER } from '../rewards/helpers.js';

let folder: string;
beforeAll(async () => {
  folder = await tinyClip();
});
afterAll(() => rm(folder, { recursive: true }));

test('features are the embeddings whose cosines clip-score gives, whatever the batch', async () => {
  const images = pictures(5);
  const prompts = ['a cat', 'a dog', 'a cat', 'a fox', 'a cat'];
  const extractor = await openFeatures(folder, { tokenizer: TOKENIZER, batch: 2 });
  const rows = await extractor.images(images);
  const texts = await extractor.texts(prompts);
  expect([rows.shape, texts.shape]).toEqual([[5, extractor.width], [5, extractor.width]]);
  const scores = await openScorer(await clipScore('clip', folder, { tokenizer: TOKENIZER })).score(images, prompts);
  scores.forEach((score, i) => {
    const row = ({ data }: HostTensor): number[] => Array.from(data.slice(i * 10, i * 10 + 10) as Float32Array);
    expect(row(rows).reduce((s, v, k) => s + v * row(texts)[k]!, 0)).toBeCloseTo(score, 5);
  });
  expect(diversity(rows, prompts)).toBeGreaterThan(0);
  const alike = host(Float32Array.from({ length: 5 * 768 }, (_, k) => images.data[k % 768]!), images.shape);
  expect(diversity(await extractor.images(alike), prompts)).toBeCloseTo(0, 5);
  expect(captionRanks(rows, texts, [0, 1, 2, 3, 4])).toHaveLength(5);
  await extractor.release();
});

test('images alone need no tokenizer', async () => {
  const extractor = await openFeatures(folder, { tokenizer: null });
  expect((await extractor.images(pictures(1))).shape).toEqual([1, 10]);
  await expect(extractor.texts(['a'])).rejects.toThrow('images only');
  await extractor.release();
});

import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openDenoiserFeatures } from '../../src/evaluation/denoiser-features.js';
import { diversity } from '../../src/evaluation/diversity.js';
import { host } from '../../src/graph/dtype.js';
import { loadPipeline } from '../../src/loading/load.js';
import { pictures } from '../rewards/helpers.js';

test('what the base model\'s U-Net makes of pictures: a unit vector for each image, the same in any batch; like images lie near each other', async () => {
  const pipeline = await loadPipeline(fileURLToPath(new URL('../fixtures/pipeline_sd1', import.meta.url)));
  const space = openDenoiserFeatures(pipeline, { compile: { threads: 1 } });
  const images = pictures(3, 64);
  const features = await space.images(images);
  const [n, width] = features.shape as [number, number];
  expect(n).toBe(3);
  for (let i = 0; i < n; i++) {
    const row = (features.data as Float32Array).subarray(i * width, (i + 1) * width);
    expect(row.reduce((sum, v) => sum + v * v, 0)).toBeCloseTo(1, 4);
  }
  const size = images.data.length / 3;
  const alone = await space.images(host(images.data.slice(2 * size), [1, 3, 64, 64]));
  alone.data.forEach((v, k) => expect(v).toBeCloseTo(features.data[2 * width + k] as number, 5));
  // Images that differ by a tenth as much as these do.
  const near = images.data.map((v, k) => images.data[k % size]! + 0.1 * (v - images.data[k % size]!));
  const spread = async (data: Float32Array): Promise<number> => diversity(await space.images(host(data, images.shape)), ['a', 'a', 'a']);
  expect(await spread(near)).toBeLessThan(await spread(images.data));
  await space.release();
}, 120_000);

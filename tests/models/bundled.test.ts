import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readStatistics } from '../../src/evaluation/statistics-file.js';
import { openSafetensors } from '../../src/formats/safetensors.js';
import { emoji } from '../../src/loading/bundled.js';

const root = emoji.folder;

// When this fails after training emoji-clip: npm run bench -- bundled-model --statistics
test('the real pictures\' statistics were made by the emoji-clip that lies beside them', async () => {
  const path = join(root, 'statistics', 'real.safetensors');
  const { count, mean, covariance } = await readStatistics(path);
  expect(count).toBe(3214);
  const length = mean.reduce((sum, v) => sum + v * v, 0);
  const trace = mean.reduce((sum, _, i) => sum + covariance[i * mean.length + i]!, 0);
  expect(length + trace * (count - 1) / count).toBeCloseTo(1, 5); // unit vectors
  const source = await openSafetensors(path);
  await source.close();
  const clip = await readFile(join(root, 'emoji-clip', 'model.safetensors'));
  expect(source.metadata['features_sha256']).toBe(createHash('sha256').update(clip).digest('hex'));
});

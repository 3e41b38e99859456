/** @file The pictures of an evaluation: each tells by itself how it came about, and the log knows them all. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { openRunFolder } from '../../src/runs/folder.js';
import { picturesAt, savePictures } from '../../src/runs/pictures.js';
import { readView } from '../../src/runs/view.js';
import { scratch } from '../cli/helpers.js';

const root = scratch();
const PROMPTS = ['a cat', 'a cat', 'ein Fuß 🦶', 'ein Fuß 🦶'];
/** Picture i is of the grey level i / 10. */
const images = host(new Float32Array(4 * 3 * 64).map((_, i) => Math.floor(i / 192) / 10), [4, 3, 8, 8]);

/** Text chunks by keyword. */
const facts = async (file: string): Promise<Record<string, string>> =>
  Object.fromEntries(((await sharp(file).metadata()).comments ?? []).map(({ keyword, text }) => [keyword, text]));

test('each picture is a file with prompt, seed, strength and step; the log has them; a resumption forgets those of later steps', async () => {
  const path = join(root, 'run');
  const folder = await openRunFolder(path, {}, { resume: false, warn: () => {} });
  await folder.begin({});
  await folder.rewind(-1);
  await savePictures(folder, { images, prompts: PROMPTS }, { step: 0, seed: 7 });
  await savePictures(folder, { images, prompts: PROMPTS }, { step: 20, seed: 7 });
  await savePictures(folder, { images, prompts: PROMPTS }, { step: 20, strength: -0.5, seed: 7 });
  await savePictures(folder, { images, prompts: PROMPTS }, { step: 20, seed: null }); // in the place of the others
  await folder.close();
  expect(existsSync(join(path, 'samples', 'step-000020.png'))).toBe(true);

  const view = (await readView(path))!;
  expect(view.images).toHaveLength(12);
  const [, second, third] = picturesAt(view, 0);
  expect(third).toMatchObject({ index: 2, prompt: PROMPTS[2], seed: 9, step: 0, strength: 1, file: 'samples/step-000000/002.png' });
  expect(await facts(join(path, third!.file))).toEqual({ index: '2', prompt: PROMPTS[2], seed: '9', strength: '1', step: '0' });
  expect((await sharp(join(path, second!.file)).stats()).channels.map((c) => c.mean)).toEqual([26, 26, 26]); // 0.1 of 255
  const weak = picturesAt(view, 20, -0.5);
  expect(await facts(join(path, weak[3]!.file))).toMatchObject({ prompt: PROMPTS[3], seed: '10', strength: '-0.5', step: '20' });
  const [first] = picturesAt(view, 20);
  expect(first!.seed).toBeUndefined();
  expect(Object.keys(await facts(join(path, first!.file)))).not.toContain('seed');

  const again = await openRunFolder(path, {}, { resume: true, warn: () => {} });
  await again.begin({});
  await again.rewind(10);
  await again.close();
  expect((await readView(path))!.images.map((i) => i.step)).toEqual([0, 0, 0, 0]);
});

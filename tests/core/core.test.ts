/** @file `attune/core` without Node: it bundles for browsers, and trains in one. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratch } from '../cli/helpers.js';
import { bundle, openBrowser } from './bundle.mjs';
import { twoUpdates } from './two-updates.js';
import type { TwoUpdates } from './two-updates.js';

const ROOT = join(import.meta.dirname, '..', '..');
const folder = scratch();

test('what package.json exports as core holds nothing of Node, and ONNX Runtime for the web', async () => {
  const { exports } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { exports: Record<string, { default: string }> };
  const { inputs } = await bundle(join(ROOT, exports['./core']!.default), join(folder, 'core.mjs'));
  expect(inputs.some((path) => path.includes('onnxruntime-web'))).toBe(true);
  expect(inputs.filter((path) => /node_modules\/(onnxruntime-node|sharp|undici|@huggingface)\//.test(path))).toEqual([]);
  // The same look finds what is there in the whole package.
  await expect(bundle(join(ROOT, exports['.']!.default), join(folder, 'whole.mjs'))).rejects.toThrow(/Could not resolve "node:/);
});

test('two updates of DRaFT on the Gaussian in a browser are those in Node', { timeout: 240_000 }, async (context) => {
  const browser = await openBrowser();
  if (!browser) return context.skip('no Chromium at /usr/bin/chromium (or ATTUNE_CHROMIUM)');
  try {
    await bundle(join(ROOT, 'tests', 'core', 'page.ts'), join(folder, 'page.mjs'));
    await writeFile(join(folder, 'index.html'), '<!doctype html><title>attune</title>');
    const there = await browser.result(folder, 'page.mjs') as TwoUpdates;
    const here = await twoUpdates();
    expect(there.rewards).toHaveLength(2);
    expect(there.rewards[1]!).toBeGreaterThan(there.rewards[0]!);
    expect(there.parameters.some((value) => value !== 0)).toBe(true);
    there.rewards.forEach((value, i) => expect(value).toBeCloseTo(here.rewards[i]!, 4));
    there.parameters.forEach((value, i) => expect(value).toBeCloseTo(here.parameters[i]!, 4));
  } finally {
    await browser.close();
  }
});

import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { vjp } from '../../src/graph/grad.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { cleanForClip } from '../../src/models/clean-text.js';
import { fitPadded, fitSquare, fitSquareTorchvision } from '../../src/rewards/clip-pixels.js';
import { compile } from '../../src/runtime/compile.js';
import { evaluate } from '../graph/evaluate.js';
import { loadFixture } from '../models/fixture.js';
import { fixturePath } from './preference.js';

/** Bytes [H, W, 3] → [1, 3, H, W] in [0, 1]. */
function planes({ data, shape }: HostTensor): HostTensor {
  const [h, w] = shape as [number, number];
  const at = (i: number): number => (i % (h * w)) * 3 + Math.floor(i / (h * w));
  return host(Float32Array.from({ length: 3 * h * w }, (_, i) => Number(data[at(i)]) / 255), [1, 3, h, w]);
}

const FITS = { torchvision: fitSquareTorchvision, transformers: fitSquare, padded: fitPadded };

test('line art of odd sizes becomes the square that the published code makes, within Pillow\'s two roundings', async () => {
  const fixture = await loadFixture('preference_pixels');
  const sides = fixture.meta['sides'] as Record<string, number>;
  const outputs: Record<string, Tensor> = {};
  const feeds: Record<string, HostTensor> = {};
  for (const [name, side] of Object.entries(sides)) {
    feeds[name] = planes(fixture.get(`${name}/in`));
    const x = input(name, feeds[name].shape);
    for (const [kind, fit] of Object.entries(FITS)) outputs[`${name}/${kind}`] = fit(x, side);
  }
  const executable = await compile({ outputs }, { threads: 1 });
  const found = await executable.run(feeds);
  await executable.release();
  for (const key of Object.keys(outputs)) {
    const expected = planes(fixture.get(key));
    expect(found[key]!.shape, key).toEqual(expected.shape);
    const levels = Array.from(expected.data as Float32Array, (v, i) => 255 * Math.abs(Number(found[key]!.data[i]) - v));
    expect(Math.max(...levels), key).toBeLessThan(1.2);
  }
  const differ = Object.keys(sides).filter((name) =>
    String(fixture.get(`${name}/torchvision`).data) !== String(fixture.get(`${name}/transformers`).data));
  expect(differ.length).toBeGreaterThan(1);
});

test('plain white and black keep their gradient, overshoots have none', async () => {
  const [h, w, side] = [9, 13, 6];
  const gradientOf = async (image: (row: number, column: number) => number): Promise<number[]> => {
    const x = input('x', [1, 3, h, w]);
    const y = fitSquare(x, side);
    const [gradient] = vjp([y], [x], [input('r', y.shape)]) as [Tensor];
    const data = Float32Array.from({ length: 3 * h * w }, (_, i) => image(Math.floor(i / w) % h, i % w));
    const r = host(new Float32Array(3 * side * side).fill(1), y.shape);
    return (await evaluate({ gradient }, { x: host(data, x.shape), r })).gradient;
  };
  const grey = await gradientOf(() => 0.5);
  for (const shade of [0, 1]) {
    (await gradientOf(() => shade)).forEach((g, i) => expect(g).toBeCloseTo(grey[i]!, 5));
  }
  const lines = await gradientOf((_, column) => (column % 6 < 3 ? 1 : 0));
  expect(lines.some((g, i) => Math.abs(g - grey[i]!) > 0.01)).toBe(true);
});

test('prompts are cleaned as by OpenCLIP', async () => {
  const cases = JSON.parse(await readFile(fixturePath('clip_text_cases.json'), 'utf8')) as { text: string; clean: string }[];
  expect(cases.length).toBeGreaterThan(25);
  for (const { text, clean } of cases) expect(cleanForClip(text), JSON.stringify(text)).toBe(clean);
});

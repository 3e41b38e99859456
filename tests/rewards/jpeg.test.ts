import { describe, expect, test } from 'vitest';
import { encodePng, readImage } from '../../src/formats/image.js';
import { host } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { normal, uniform } from '../../src/random/random.js';
import { openGradient } from '../../src/rewards/gradient.js';
import { compressibility, incompressibility } from '../../src/rewards/jpeg.js';
import { jpegCoefficients, quantisationTable } from '../../src/rewards/jpeg-graph.js';
import { jpegBytes } from '../../src/formats/image.js';
import { jpegSize } from '../../src/rewards/jpeg-size.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { compile } from '../../src/runtime/compile.js';
import { checkGradient, pictures } from './helpers.js';
import type { Images } from './helpers.js';

/** Discs of random place, size and colour on white, more of them and with more noise from picture to picture. */
function discs(n: number, size = 64): Images {
  const plane = size * size;
  const data = new Float32Array(n * 3 * plane).fill(1);
  for (let i = 0; i < n; i++) {
    const key = { seed: 5, stream: 'discs', step: 0 };
    const u = uniform(key, i, 6 * n);
    const grain = normal({ ...key, stream: 'grain' }, i, 3 * plane);
    for (let d = 0; d <= i / 2; d++) {
      const [x0, y0, r] = [u[6 * d]!, u[6 * d + 1]!, u[6 * d + 2]!];
      for (let k = 0; k < plane; k++) {
        const [dx, dy] = [(k % size) / size - x0, Math.floor(k / size) / size - y0];
        if (Math.hypot(dx, dy) > 0.1 + 0.3 * r) continue;
        for (let c = 0; c < 3; c++) data[(i * 3 + c) * plane + k] = u[6 * d + 3 + c]!;
      }
    }
    const amount = 0.03 * u[6 * n - 1]!;
    for (let k = 0; k < 3 * plane; k++) {
      data[i * 3 * plane + k] = Math.min(1, Math.max(0, data[i * 3 * plane + k]! + amount * grain[k]!));
    }
  }
  return host(data, [n, 3, size, size]) as Images;
}

function ranks(values: Float32Array): number[] {
  const order = Array.from(values.keys()).toSorted((a, b) => values[a]! - values[b]!);
  return Array.from(values, (_, i) => order.indexOf(i));
}

function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [x, y] = [Array.from(a), Array.from(b)];
  const mean = (v: number[]): number => v.reduce((s, w) => s + w, 0) / v.length;
  const dot = (p: number[], q: number[]): number => p.reduce((s, w, i) => s + (w - mean(p)) * (q[i]! - mean(q)), 0);
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
}

describe('differentiable JPEG', () => {
  test('scales the standard tables as libjpeg does', () => {
    expect(quantisationTable([16, 11, 99], 50)).toEqual([16, 11, 99]);
    expect(quantisationTable([16, 11, 99], 95)).toEqual([2, 1, 10]);
    expect(quantisationTable([16, 11, 99], 10)).toEqual([80, 55, 255]);
    expect(quantisationTable([16, 11, 99], 100)).toEqual([1, 1, 1]);
  });

  test('a grey picture has constant terms only, and a cosine one coefficient', async () => {
    const grey = 144 / 255; // 16 above the middle: 16 · 8 / 16 = 8 steps at quality 50
    const wave = (k: number): number => 50 * Math.cos(((2 * (k % 8) + 1) * 3 * Math.PI) / 16);
    const data = Float32Array.from({ length: 2 * 3 * 256 }, (_, k) => (k < 768 ? grey : (128 + wave(k)) / 255));
    const { luma, chroma } = jpegCoefficients(input('x', [2, 3, 16, 16]), 50);
    const run = await compile({ outputs: { luma, chroma } });
    const result = await run.run({ x: host(data, [2, 3, 16, 16]) });
    expect(result.luma.shape).toEqual([2, 4, 64]);
    expect(result.chroma.shape).toEqual([2, 2, 64]);
    result.chroma.data.forEach((v) => expect(Math.abs(Number(v))).toBeLessThan(1e-4));
    for (let k = 0; k < 2 * 4 * 64; k++) {
      // 50 · Σ cos² · ½ · 1/√8 over a row, 8 rows of √(1/8): 50 · 4 · ½ · √(1/8) · 8 = 50 · 4 · √2, over 16 (table)
      const expected = k < 256 ? (k % 64 === 0 ? 8 : 0) : k % 64 === 3 ? (50 * 4 * Math.SQRT2) / 16 : 0;
      expect(result.luma.data[k]).toBeCloseTo(expected, 3);
    }
  });

  test('ranks pictures as the true files do, and says about how many kB they take', async () => {
    const images = discs(24, 32);
    const prompts = Array.from({ length: 24 }, () => '');
    const estimated = await openScorer(compressibility('c')).score(images, prompts);
    const true_ = await openScorer(jpegSize('j', -1, jpegBytes)).score(images, prompts);
    expect(correlation(ranks(estimated), ranks(true_))).toBeGreaterThan(0.97);
    estimated.forEach((kb, i) => expect(kb / true_[i]!).toBeGreaterThan(0.75));
    estimated.forEach((kb, i) => expect(kb / true_[i]!).toBeLessThan(1.3));
    const [low, high] = compressibility('c').range;
    estimated.forEach((kb) => expect(kb).toSatisfy((v: number) => v >= low && v <= high));
    expect(await openScorer(incompressibility('i')).score(images, prompts)).toEqual(estimated.map((v) => -v));
  });

  test('takes sides that 16 does not divide', async () => {
    const odd = host(pictures(1, 24).data.slice(0, 3 * 23 * 17), [1, 3, 23, 17]);
    const [kb] = await openScorer(incompressibility('i')).score(odd, ['']);
    expect(kb).toBeGreaterThan(0.6);
  });

  test('has the right gradient', () =>
    checkGradient(compressibility('c'), pictures(2, 16), ['', ''], { step: 1e-3, tolerance: 0.03 }));

  test('following the gradient makes the true file larger, or smaller', async () => {
    const images = discs(4);
    const size = openScorer(jpegSize('j', 1, jpegBytes));
    const prompts = ['', '', '', ''];
    const before = await size.score(images, prompts);
    for (const [reward, sign] of [[incompressibility('i'), 1], [compressibility('c'), -1]] as const) {
      const scorer = await openGradient(reward, [4, 3, 64, 64]);
      const data = images.data.slice();
      for (let step = 0; step < 8; step++) {
        const { gradient } = await scorer.run(host(data, images.shape), prompts);
        const g = gradient.data as Float32Array;
        const scale = 1 / Math.sqrt(g.reduce((s, v) => s + v * v, 0));
        for (let k = 0; k < data.length; k++) data[k] = Math.min(1, Math.max(0, data[k]! + scale * g[k]!));
      }
      const after = await size.score(host(data, images.shape), prompts);
      const change = after.reduce((s, kb, i) => s + kb - before[i]!, 0);
      expect(sign * change).toBeGreaterThan(0.05);
      await scorer.release();
    }
    expect(size.queries).toBe(12);
  });
});

test('jpeg-size is the kB of a real file, whatever the batch', async () => {
  const images = discs(3, 32);
  const scores = await openScorer(jpegSize('j', 1, jpegBytes)).score(images, ['', '', '']);
  const second = await openScorer(jpegSize('j', -1, jpegBytes)).score(host(images.data.slice(3072, 6144), [1, 3, 32, 32]), ['']);
  expect(second[0]).toBeCloseTo(-scores[1]!, 6);
  expect(scores[2]).toBeGreaterThan(scores[0]!);
  // The 8-bit picture is what is measured.
  const rounded = await readImage(await encodePng(host(images.data.slice(0, 3072), [3, 32, 32])));
  const again = await openScorer(jpegSize('j', 1, jpegBytes)).score(host(rounded.data, [1, 3, 32, 32]), ['']);
  expect(again[0]).toBe(scores[0]);
});

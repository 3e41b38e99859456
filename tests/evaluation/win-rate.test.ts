import { expect, test } from 'vitest';
import { drifts } from '../../src/evaluation/diversity.js';
import { winRate } from '../../src/evaluation/win-rate.js';
import { host } from '../../src/graph/dtype.js';
import { uniform } from '../../src/random/random.js';

const own = (n: number): string[] => Array.from({ length: n }, (_, i) => String(i));

test('a win rate counts ties half and has Wilson\'s interval', () => {
  const before = new Array<number>(10).fill(0);
  // 7 wins, 2 ties, 1 loss: 0.8 of 10; the interval as statsmodels' proportion_confint(8, 10, method="wilson") has it.
  const { rate, low, high } = winRate(before, [1, 1, 1, 1, 1, 1, 1, 0, 0, -1], own(10));
  expect(rate).toBeCloseTo(0.8, 12);
  expect([low, high]).toEqual([expect.closeTo(0.49016, 4), expect.closeTo(0.94332, 4)]);
  const all = winRate(before, before.map((x) => x + 1), own(10));
  expect([all.rate, all.high]).toEqual([1, expect.closeTo(1, 12)]);
  expect(all.low).toBeCloseTo(0.72246, 4);
  expect(winRate(before, before, own(10)).rate).toBe(0.5);
});

test('images of one prompt that win together count as fewer', () => {
  const after = Array.from({ length: 32 }, (_, i) => (Math.floor(i / 4) % 2 === 0 ? 1 : -1));
  const prompts = after.map((_, i) => String(Math.floor(i / 4)));
  const width = ({ low, high }: { low: number; high: number }): number => high - low;
  const zeros = new Array<number>(32).fill(0);
  const together = winRate(zeros, after, prompts);
  expect(together.rate).toBe(0.5);
  expect(width(together)).toBeGreaterThan(1.6 * width(winRate(zeros, after, own(32))));
});

test('the interval holds the truth in about 95 of 100 cases, images of a prompt being alike', () => {
  let held = 0;
  for (let seed = 0; seed < 400; seed++) {
    const [p, q] = [uniform({ seed, stream: 'prompt', step: 0 }, 0, 16), uniform({ seed, stream: 'image', step: 0 }, 0, 64)];
    // Each prompt has its own chance, 0.3 to 0.9.
    const after = Array.from(q, (u, i) => (u < 0.3 + 0.6 * p[i >> 2]! ? 1 : -1));
    const { low, high } = winRate(new Array<number>(64).fill(0), after, after.map((_, i) => String(i >> 2)));
    if (low <= 0.6 && high >= 0.6) held += 1;
  }
  expect(held / 400).toBeGreaterThan(0.92);
});

test('drift is one less the cosine, image by image, exact near 0', () => {
  const rows = (...v: number[][]) => host(Float32Array.from(v.flat()), [v.length, v[0]!.length]);
  const found = drifts(rows([2, 0], [1, 0], [0, 3]), rows([5, 0], [0, 1], [0, -1]));
  expect(found.map((d) => Math.round(1e6 * d) / 1e6)).toEqual([0, 1, 2]);
  expect(drifts(rows([1, 0]), rows([1, 1e-4]))[0]).toBeCloseTo(5e-9, 12);
  expect(() => drifts(rows([1, 0]), rows([1, 0, 0]))).toThrow('drift of features');
});

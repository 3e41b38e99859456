import { describe, expect, test } from 'vitest';
import { integers, normal, permutation, uniform } from '../../src/random/random.js';
import type { Key } from '../../src/random/random.js';

const key: Key = { seed: 42, stream: 'latents', step: 3 };
function mean(v: ArrayLike<number>, f = (x: number, _i: number) => x): number {
  let sum = 0;
  for (let i = 0; i < v.length; i++) sum += f(v[i]!, i);
  return sum / v.length;
}
const correlation = (a: ArrayLike<number>, b: ArrayLike<number>): number => mean(a, (x, i) => x * b[i]!);
const N = 200_000;

describe('a value depends on its key, item and index alone', () => {
  test.each([
    ['uniform', uniform], ['normal', normal],
    ['integers', (k: Key, i: number, n: number) => integers(k, i, n, 1000)],
  ] as const)('%s: the count does not matter', (_name, draw) => {
    const long = draw(key, 7, 64);
    for (const count of [0, 1, 2, 3, 5, 6, 7, 63]) {
      expect([...draw(key, 7, count)]).toEqual(Array.from(long.slice(0, count)));
    }
    expect([...draw(key, 7, 64)]).toEqual([...long]);
  });

  test('each part of the key gives other, uncorrelated numbers', () => {
    const base = normal(key, 0, N);
    const others = [
      normal({ ...key, seed: 43 }, 0, N), normal({ ...key, seed: 42 + 2 ** 32 }, 0, N),
      normal({ ...key, stream: 'noise' }, 0, N), normal({ ...key, step: 4 }, 0, N), normal(key, 1, N),
    ];
    for (const other of others) expect(Math.abs(correlation(base, other))).toBeLessThan(5 / Math.sqrt(N));
    const starts = [base, ...others].map((v) => v.slice(0, 4).join());
    expect(new Set(starts).size).toBe(starts.length);
  });

  test('thousands of streams start differently', () => {
    const starts = Array.from({ length: 5000 }, (_, i) => uniform({ ...key, stream: `layer.${i}.weight` }, 0, 1)[0]);
    expect(new Set(starts).size).toBe(5000);
  });

  test('the numbers stay what they are', () => {
    // Written down once: a change here changes every sample that anybody made with a seed.
    expect([...normal({ seed: 0, stream: 'latents', step: 0 }, 0, 4)].map((v) => v.toFixed(5))).toMatchInlineSnapshot(`
      [
        "-0.74254",
        "-0.33899",
        "0.48888",
        "-0.94703",
      ]
    `);
    expect([...permutation({ seed: 0, stream: 'order', step: 0 }, 0, 8)]).toMatchInlineSnapshot(`
      [
        2,
        7,
        6,
        1,
        3,
        0,
        5,
        4,
      ]
    `);
  });
});

describe('distributions', () => {
  test('uniform: in [0, 1), with the right moments and even halves of each bit', () => {
    const u = uniform(key, 0, N);
    expect(u.every((v) => v >= 0 && v < 1)).toBe(true);
    expect(Math.abs(mean(u) - 0.5)).toBeLessThan(5 * Math.sqrt(1 / 12 / N));
    expect(Math.abs(mean(u, (v) => (v - 0.5) ** 2) - 1 / 12)).toBeLessThan(5 * Math.sqrt(1 / 180 / N));
    for (let bit = 1; bit <= 50; bit++) {
      const scale = 2 ** bit;
      const ones = mean(u, (v) => Math.floor(v * scale) & 1);
      expect(Math.abs(ones - 0.5), `bit ${bit}`).toBeLessThan(5 * Math.sqrt(0.25 / N));
    }
  });

  test('normal: moments, tails, and no correlation between neighbours', () => {
    const z = normal(key, 0, N);
    const [m1, m2, m3, m4] = [1, 2, 3, 4].map((p) => mean(z, (v) => v ** p)) as [number, number, number, number];
    // Variances of z, z², z³, z⁴ are 1, 2, 15, 96.
    expect(Math.abs(m1)).toBeLessThan(5 * Math.sqrt(1 / N));
    expect(Math.abs(m2 - 1)).toBeLessThan(5 * Math.sqrt(2 / N));
    expect(Math.abs(m3)).toBeLessThan(5 * Math.sqrt(15 / N));
    expect(Math.abs(m4 - 3)).toBeLessThan(5 * Math.sqrt(96 / N));
    for (const [limit, outside] of [[1, 0.317311], [2, 0.0455003], [3, 0.0026998]] as const) {
      const share = mean(z, (v) => (Math.abs(v) > limit ? 1 : 0));
      expect(Math.abs(share - outside)).toBeLessThan(5 * Math.sqrt(outside / N));
    }
    for (const lag of [1, 2, 3, 4]) {
      expect(Math.abs(correlation(z.slice(lag), z))).toBeLessThan(5 / Math.sqrt(N));
      const [now, later] = [z, z.slice(lag)].map((t) => t.map((v) => v * v - 1)) as [Float32Array, Float32Array];
      expect(Math.abs(correlation(later, now))).toBeLessThan(10 / Math.sqrt(N));
    }
  });

  test('integers: every value as likely, also where 2^32 does not divide', () => {
    const small = integers(key, 0, N, 10);
    for (let v = 0; v < 10; v++) {
      expect(Math.abs(small.filter((x) => x === v).length / N - 0.1)).toBeLessThan(5 * Math.sqrt(0.09 / N));
    }
    // A word modulo 3·2³⁰ without rejection would hit the lowest third twice as often.
    const large = integers(key, 0, N, 3 * 2 ** 30);
    const thirds = [0, 1, 2].map((k) => large.filter((v) => Math.floor(v / 2 ** 30) === k).length / N);
    for (const share of thirds) expect(Math.abs(share - 1 / 3)).toBeLessThan(5 * Math.sqrt(0.23 / N));
    expect(Math.max(...integers(key, 0, 1000, 2 ** 32))).toBeGreaterThan(2 ** 31);
    expect([...integers(key, 0, 5, 1)]).toEqual([0, 0, 0, 0, 0]);
  });

  test('permutation: a permutation, every order as likely', () => {
    for (const n of [0, 1, 2, 17, 1000]) {
      expect([...permutation(key, n, n)].toSorted((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
    }
    const counts = new Map<string, number>();
    const trials = 24_000;
    for (let item = 0; item < trials; item++) {
      const order = permutation(key, item, 4).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    const limit = 5 * Math.sqrt(1 / 24 / trials);
    for (const count of counts.values()) expect(Math.abs(count / trials - 1 / 24)).toBeLessThan(limit);
  });
});

test('what cannot be a key is refused by name', () => {
  expect(() => normal({ ...key, seed: -1 }, 0, 1)).toThrow(/seed.*-1/);
  expect(() => normal({ ...key, seed: 0.5 }, 0, 1)).toThrow(/seed.*0\.5/);
  expect(() => normal({ ...key, seed: 2 ** 53 }, 0, 1)).toThrow(/seed/);
  expect(() => normal({ ...key, step: 2 ** 32 }, 0, 1)).toThrow(/step of stream "latents"/);
  expect(() => normal(key, -1, 1)).toThrow(/item of stream "latents"/);
  expect(() => integers(key, 0, 1, 0)).toThrow(/bound of stream "latents".*0/);
});

import { afterAll, describe, expect, test } from 'vitest';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { diversity, rowsByPrompt } from '../../src/evaluation/diversity.js';
import { semidefiniteFactor, symmetricEigenvalues } from '../../src/evaluation/eigenvalues.js';
import { frechetDistance, gaussianStatistics } from '../../src/evaluation/frechet.js';
import { readStatistics, writeStatistics } from '../../src/evaluation/statistics-file.js';
import type { GaussianStatistics } from '../../src/evaluation/frechet.js';
import { captionRanks, topK } from '../../src/evaluation/retrieval.js';
import { FormatError } from '../../src/formats/errors.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { normal } from '../../src/random/random.js';

const rows = (...vectors: number[][]): HostTensor =>
  host(Float32Array.from(vectors.flat()), [vectors.length, vectors[0]!.length]);
const noise = (stream: string, ...shape: number[]): HostTensor =>
  host(normal({ seed: 7, stream, step: 0 }, 0, shape.reduce((a, b) => a * b, 1)), shape);

describe('diversity', () => {
  test('0 for images all alike, 1 for orthogonal ones, 2 for opposite ones, whatever the lengths', () => {
    expect(diversity(rows([1, 2], [2, 4], [3, 6]), ['a', 'a', 'a'])).toBeCloseTo(0, 6);
    expect(diversity(rows([5, 0, 0], [0, 1, 0], [0, 0, 2]), ['a', 'a', 'a'])).toBeCloseTo(1, 6);
    expect(diversity(rows([3, 0], [-1, 0]), ['a', 'a'])).toBeCloseTo(2, 6);
  });

  test('is the mean over pairs within prompts, then over prompts', () => {
    const features = noise('features', 9, 6);
    const prompts = ['a', 'b', 'a', 'b', 'a', 'c', 'b', 'a', 'a']; // c has one image: it does not count
    const vector = (i: number): number[] => Array.from(features.data.slice(6 * i, 6 * i + 6) as Float32Array);
    const dot = (a: number[], b: number[]): number => a.reduce((s, v, k) => s + v * b[k]!, 0);
    const distance = (i: number, j: number): number =>
      1 - dot(vector(i), vector(j)) / Math.sqrt(dot(vector(i), vector(i)) * dot(vector(j), vector(j)));
    const means = [[0, 2, 4, 7, 8], [1, 3, 6]].map((members) => {
      const pairs = members.flatMap((i) => members.filter((j) => j > i).map((j) => distance(i, j)));
      return pairs.reduce((a, b) => a + b, 0) / pairs.length;
    });
    expect(diversity(features, prompts)).toBeCloseTo((means[0]! + means[1]!) / 2, 6);
    expect([...rowsByPrompt(prompts)].map(([p, list]) => [p, list.length])).toEqual([['a', 5], ['b', 3], ['c', 1]]);
  });

  test('refuses what it cannot measure', () => {
    expect(() => diversity(rows([1, 0], [0, 1]), ['a', 'b'])).toThrow('two images of one prompt');
    expect(() => diversity(rows([1, 0], [0, 1]), ['a'])).toThrow('one prompt a row');
    expect(() => diversity(rows([1, 0], [0, 0]), ['a', 'a'])).toThrow('zeros');
  });
});

/** Row-major B·Bᵀ of an n × k matrix. */
function gram(b: ArrayLike<number>, n: number, k: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, at) => {
    let sum = 0;
    for (let l = 0; l < k; l++) sum += b[Math.floor(at / n) * k + l]! * b[(at % n) * k + l]!;
    return sum;
  });
}

describe('linear algebra', () => {
  test('eigenvalues of matrices whose spectrum is known', () => {
    const n = 12;
    // Second differences: 2 − 2 cos(kπ/(n + 1))
    const path = Float64Array.from({ length: n * n }, (_, k) => {
      const d = Math.abs(Math.floor(k / n) - (k % n));
      return d === 0 ? 2 : d === 1 ? -1 : 0;
    });
    const wave = (k: number): number => 2 - 2 * Math.cos(((k + 1) * Math.PI) / (n + 1));
    symmetricEigenvalues(path, n).forEach((v, k) => expect(v).toBeCloseTo(wave(k), 12));
    expect([...symmetricEigenvalues(Float64Array.of(3, 0, 0, 0, -1, 0, 0, 0, 3), 3)]).toEqual([-1, 3, 3]);
    expect([...symmetricEigenvalues(Float64Array.of(2, 1, 1, 2), 2)].map((v) => Number(v.toFixed(12)))).toEqual([1, 3]);
    expect([...symmetricEigenvalues(Float64Array.of(5), 1)]).toEqual([5]);
    expect([...symmetricEigenvalues(new Float64Array(0), 0)]).toEqual([]);
    // All ones: n once, 0 otherwise.
    const ones = symmetricEigenvalues(new Float64Array(36).fill(1), 6);
    expect(ones[5]).toBeCloseTo(6, 12);
    expect(Math.max(...ones.slice(0, 5).map(Math.abs))).toBeLessThan(1e-12);
  });

  test('eigenvalues of a random matrix keep its traces', () => {
    const n = 60;
    const a = gram(noise('matrix', n, n).data as Float32Array, n, n);
    const trace = a.reduce((s, v, k) => (k % (n + 1) === 0 ? s + v : s), 0);
    const squares = a.reduce((s, v) => s + v * v, 0);
    const values = symmetricEigenvalues(a.slice(), n);
    expect(values.reduce((s, v) => s + v, 0) / trace).toBeCloseTo(1, 12);
    expect(values.reduce((s, v) => s + v * v, 0) / squares).toBeCloseTo(1, 12);
    values.forEach((v, k) => expect(v).toBeGreaterThanOrEqual(values[k - 1] ?? -1e-9));
  });

  test('the factor of a matrix of rank 3 has 3 columns and gives it back', () => {
    const a = gram(noise('factor', 10, 3).data as Float32Array, 10, 3);
    const { columns, rank } = semidefiniteFactor(a, 10);
    expect(rank).toBe(3);
    for (let k = 0; k < 100; k++) {
      let sum = 0;
      for (let r = 0; r < rank; r++) sum += columns[r * 10 + Math.floor(k / 10)]! * columns[r * 10 + (k % 10)]!;
      expect(sum).toBeCloseTo(a[k]!, 10);
    }
    expect(semidefiniteFactor(new Float64Array(4), 2).rank).toBe(0);
  });
});

describe('Fréchet distance', () => {
  const gaussian = (mean: number[], covariance: number[]): GaussianStatistics =>
    ({ count: 100, mean: Float64Array.from(mean), covariance: Float64Array.from(covariance) });

  test('of Gaussians with a closed form', () => {
    const unit = gaussian([0, 0], [1, 0, 0, 1]);
    expect(frechetDistance(unit, unit)).toBeCloseTo(0, 12);
    expect(frechetDistance(unit, gaussian([3, 4], [1, 0, 0, 1]))).toBeCloseTo(25, 12);
    // Commuting covariances: Σ (√λ₁ − √λ₂)²
    expect(frechetDistance(gaussian([0, 0], [4, 0, 0, 9]), unit)).toBeCloseTo(1 + 4, 12);
    expect(frechetDistance(gaussian([1, 0], [4, 0, 0, 0]), gaussian([0, 0], [0, 0, 0, 9]))).toBeCloseTo(1 + 4 + 9, 12);
    // 2 × 2: tr (AB)^½ = √(tr AB + 2 √(det A · det B)), covariances that do not commute
    const [a, b] = [[2, 1, 1, 3], [5, -2, -2, 1]] as const;
    const product = a[0] * b[0] + a[1] * b[2] + a[2] * b[1] + a[3] * b[3];
    const root = Math.sqrt(product + 2 * Math.sqrt((a[0] * a[3] - a[1] ** 2) * (b[0] * b[3] - b[1] ** 2)));
    const distance = frechetDistance(gaussian([0, 0], [...a]), gaussian([0, 0], [...b]));
    expect(distance).toBeCloseTo(2 + 3 + 5 + 1 - 2 * root, 12);
  });

  test('is symmetric, and turning both sets changes nothing', () => {
    const a = gaussianStatistics(noise('a', 40, 6));
    const b = gaussianStatistics(noise('b', 12, 6));
    expect(frechetDistance(a, b)).toBeCloseTo(frechetDistance(b, a), 10);
    const turned = (f: HostTensor): GaussianStatistics => {
      const [c, s] = [Math.cos(1), Math.sin(1)];
      const data = (f.data as Float32Array).slice();
      for (let k = 0; k < data.length; k += 6) {
        const [x, y] = [data[k]!, data[k + 3]!];
        [data[k], data[k + 3]] = [c * x - s * y, s * x + c * y];
      }
      return gaussianStatistics(host(data, f.shape));
    };
    expect(frechetDistance(turned(noise('a', 40, 6)), turned(noise('b', 12, 6)))).toBeCloseTo(frechetDistance(a, b), 5);
  });

  test('works on fewer images than features', () => {
    const features = noise('few', 5, 20);
    const few = gaussianStatistics(features);
    expect(frechetDistance(few, few)).toBeCloseTo(0, 6);
    const shifted = gaussianStatistics(host((features.data as Float32Array).map((v) => v + 0.5), [5, 20]));
    expect(frechetDistance(few, shifted)).toBeCloseTo(20 * 0.25, 4);
  });

  test('statistics are mean and sample covariance', () => {
    const { count, mean, covariance } = gaussianStatistics(rows([1, 0], [3, 4], [5, 2]));
    expect([count, ...mean]).toEqual([3, 3, 2]);
    expect([...covariance].map((v) => Number(v.toFixed(12)))).toEqual([4, 2, 2, 4]);
    expect(() => gaussianStatistics(rows([1, 2]))).toThrow('at least two images');
  });
});

describe('statistics files', () => {
  let folder: string;
  afterAll(() => rm(folder, { recursive: true }));

  test('round trip, and what is wrong with others', async () => {
    folder = await mkdtemp(join(tmpdir(), 'attune-stats-'));
    const path = join(folder, 'real.safetensors');
    const statistics = gaussianStatistics(noise('file', 8, 4));
    await writeStatistics(path, statistics, { source: 'noto' });
    expect(await readStatistics(path)).toEqual(statistics);

    await writeSafetensors(path, [['mean', rows([1, 2])]], { count: '2' });
    await expect(readStatistics(path)).rejects.toThrow(FormatError);
    const mean = host(new Float64Array(2), [2], 'float64');
    const oblong = host(new Float64Array(6), [2, 3], 'float64');
    await writeSafetensors(path, [['mean', mean], ['covariance', oblong]], { count: '9' });
    await expect(readStatistics(path)).rejects.toThrow('covariance of [2, 3]');
    await writeSafetensors(path, [['mean', mean], ['covariance', host(new Float64Array(4), [2, 2], 'float64')]]);
    await expect(readStatistics(path)).rejects.toThrow('of how many images');
    const nan = host(Float64Array.of(1, NaN, NaN, 1), [2, 2], 'float64');
    await writeSafetensors(path, [['mean', mean], ['covariance', nan]], { count: '9' });
    await expect(readStatistics(path)).rejects.toThrow('not finite');
    await writeFile(path, (await readFile(path)).subarray(0, 60));
    await expect(readStatistics(path)).rejects.toThrow(path);
  });
});

test('retrieval ranks the own caption among all, ties counting half', () => {
  const captions = rows([1, 0], [0, 1], [0.8, 0.6], [0, 1]);
  const images = rows([1, 0], [0.6, 0.8], [0, 1]);
  // cosines: image 0: 1, 0, .8, 0; image 1: .6, .8, .96, .8; image 2: 0, 1, .6, 1
  expect([...captionRanks(images, captions, [0, 0, 1])]).toEqual([0, 3, 0.5]);
  expect([...captionRanks(images, captions, [2, 2, 0])]).toEqual([1, 0, 3]);
  const ranks = captionRanks(images, captions, [0, 0, 1]);
  expect([topK(ranks, 1), topK(ranks, 4)]).toEqual([2 / 3, 1]);
  expect(() => captionRanks(images, rows([1, 0, 0]), [0, 0, 0])).toThrow('cannot match');
});

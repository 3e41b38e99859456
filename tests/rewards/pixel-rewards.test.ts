import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { color } from '../../src/rewards/color.js';
import type { ColorProperty } from '../../src/rewards/color.js';
import { RewardError } from '../../src/rewards/reward.js';
import { rotation } from '../../src/rewards/rotation.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { symmetry } from '../../src/rewards/symmetry.js';
import { checkGradient, pictures } from './helpers.js';
import type { Images } from './helpers.js';

/** One picture [1, 3, n, n] from a function of row, column and channel. */
function drawn(n: number, f: (y: number, x: number, c: number) => number): Images {
  const data = Float32Array.from({ length: 3 * n * n }, (_, k) =>
    f(Math.floor(k / n) % n, k % n, Math.floor(k / (n * n))));
  return host(data, [1, 3, n, n]) as Images;
}

const scoreOf = async (reward: Parameters<typeof openScorer>[0], images: Images): Promise<number> =>
  (await openScorer(reward, { batch: 1 }).score(images, ['']))[0]!;

describe('symmetry', () => {
  test('is 1 for a mirror image, −1 for its negative, 0 for one colour', async () => {
    const tent = drawn(8, (y, x) => 0.5 + 0.1 * Math.min(x, 7 - x) * (y / 7));
    const slope = drawn(8, (_y, x) => x / 7);
    const flat = drawn(8, () => 0.7);
    expect(await scoreOf(symmetry('s', 'left-right'), tent)).toBeCloseTo(1, 1);
    expect(await scoreOf(symmetry('s', 'left-right'), slope)).toBeCloseTo(-1, 1);
    expect(await scoreOf(symmetry('s', 'left-right'), flat)).toBeCloseTo(0, 5);
    expect(await scoreOf(symmetry('s', 'top-bottom'), slope)).toBeCloseTo(1, 1);
  });

  test('has the right gradient', () => checkGradient(symmetry('s', 'top-bottom'), pictures(2), ['', '']));
});

describe('rotation', () => {
  test('is −1 where turning changes nothing and higher where it does', async () => {
    const centred = drawn(8, (y, x) => Math.exp(-((x - 3.5) ** 2 + (y - 3.5) ** 2) / 8));
    // A slope turned by 90° is uncorrelated with itself, by 180° it is its negative.
    const slope = drawn(8, (_y, x) => x / 7);
    expect(await scoreOf(rotation('r'), centred)).toBeCloseTo(-1, 1);
    expect(await scoreOf(rotation('r'), slope)).toBeCloseTo(1 / 3, 1);
  });

  test('weighs 90° and 270° as the mean of all three turns', async () => {
    const picture = pictures(1, 8);
    const turn = (image: Images): Images => drawn(8, (y, x, c) => image.data[c * 64 + x * 8 + 7 - y]!);
    const turns = [turn(picture), turn(turn(picture)), turn(turn(turn(picture)))];
    const centred = ({ data }: Images): number[] => {
      const mean = data.reduce((a, b) => a + b, 0) / data.length;
      return Array.from(data, (v) => v - mean);
    };
    const a = centred(picture);
    const correlations = turns.map((t) => {
      const b = centred(t);
      const dot = (p: number[], q: number[]): number => p.reduce((s, v, i) => s + v * q[i]!, 0) / p.length;
      return dot(a, b) / (dot(a, a) + 1e-4);
    });
    const mean = correlations.reduce((s, c) => s + c, 0) / 3;
    expect(await scoreOf(rotation('r'), picture)).toBeCloseTo(-mean, 4);
  });

  test('needs square images', async () => {
    const wide = host(new Float32Array(3 * 4 * 8), [1, 3, 4, 8]);
    await expect(openScorer(rotation('turn')).score(wide, [''])).rejects.toThrow(RewardError);
    await expect(openScorer(rotation('turn')).score(wide, [''])).rejects.toThrow(/turn.*square/);
  });

  test('has the right gradient', () => checkGradient(rotation('r'), pictures(2), ['', '']));
});

describe('color', () => {
  const orange = drawn(4, (_y, _x, c) => [1, 0.5, 0.25][c]!);
  test.each<[ColorProperty, number]>([
    ['red', 1 - 0.375],
    ['green', 0.5 - 0.625],
    ['blue', 0.25 - 0.75],
    ['brightness', 0.299 + 0.587 * 0.5 + 0.114 * 0.25],
    ['darkness', 1 - (0.299 + 0.587 * 0.5 + 0.114 * 0.25)],
    ['saturation', 0.75],
  ])('%s of an orange picture', async (property, expected) => {
    expect(await scoreOf(color('c', property), orange)).toBeCloseTo(expected, 5);
  });

  test.each<ColorProperty>(['red', 'darkness', 'saturation'])('%s has the right gradient', (property) => {
    // The channels apart, so that no step changes which is the largest.
    const images = pictures(2, 8);
    const data = images.data.map((v, k) => 0.2 + 0.3 * (Math.floor(k / 64) % 3) + 0.1 * (v - 0.5));
    return checkGradient(color('c', property), host(data, images.shape) as Images, ['', '']);
  });
});

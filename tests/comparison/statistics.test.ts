import { describe, expect, test } from 'vitest';
import { secondsLeft } from '../../src/comparison/estimate.js';
import type { RunPoint } from '../../src/comparison/run-record.js';
import { alignedPoints, costToReach, reachOf, spreadOf } from '../../src/comparison/statistics.js';

const points = (...rewards: number[]): RunPoint[] => rewards.map((reward, k) => ({
  step: 10 * k, reward, diversity: 1, frechet: 0, rewardQueries: 80 * k, denoiserCalls: 100 * k, seconds: k,
}));

describe('numbers over seeds', () => {
  test('mean and sample deviation', () => {
    expect(spreadOf([1, 2, 6])).toEqual({ mean: 3, deviation: Math.sqrt(7), count: 3 });
    expect(spreadOf([5])).toEqual({ mean: 5, deviation: null, count: 1 });
  });
  test('evaluations that all runs have stand together', () => {
    expect(alignedPoints([points(0, 1, 2), points(3, 4)]).map((p) => p.map((q) => q.reward))).toEqual([[0, 3], [1, 4]]);
    expect(alignedPoints([])).toEqual([]);
  });
});

describe('what a reward costs', () => {
  test('is read off the line to the first evaluation that has it', () => {
    expect(costToReach(points(0, 1, 3, 2, 5), 2, 'rewardQueries')).toBe(80 + 40);
    expect(costToReach(points(0, 1, 3), 1, 'step')).toBe(10);
    expect(costToReach(points(0.5, 1), 0.4, 'seconds')).toBe(0);
    expect(costToReach(points(0, 1), 1.01, 'seconds')).toBeNull();
  });
  test('is averaged over the seeds that reach it', () => {
    const three = [points(0, 2), points(0, 1), points(0, 0.5)];
    expect(reachOf(three, 1, 'step')).toEqual({ cost: 7.5, reached: 2, seeds: 3 });
    expect(reachOf([points(0)], 1, 'step')).toEqual({ cost: null, reached: 0, seeds: 1 });
  });
});

describe('time left', () => {
  const run = (entry: string, share: number, seconds: number) => ({ entry, share, seconds });
  test('is unknown at first, then goes by the same entry or the others', () => {
    expect(secondsLeft([run('a', 0, 0), run('b', 0.05, 3)], 1)).toBeNull();
    expect(secondsLeft([run('a', 0.5, 10), run('b', 0, 0)], 1)).toBe(10 + 20);
    const three = [run('a', 1, 30), run('a', 0, 0), run('b', 1, 10), run('b', 0.9, 1), run('c', 0, 0)];
    expect(secondsLeft(three, 1)).toBe(30 + 9 + 20);
  });
  test('is shared by lanes, but no shorter than a run', () => {
    expect(secondsLeft([run('a', 1, 8), run('a', 0, 0), run('a', 0, 0), run('a', 0, 0)], 2)).toBe(12);
    expect(secondsLeft([run('a', 1, 8), run('a', 0, 0)], 2)).toBe(8);
    expect(secondsLeft([run('a', 1, 8)], 2)).toBe(0);
  });
});

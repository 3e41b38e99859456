import { describe, expect, test } from 'vitest';
import { evaluationDue, spentShare } from '../../src/training/budget.js';
import { resolveConfig } from '../../src/training/config.js';

const config = (...assignments: [string, unknown][]) => resolveConfig({ steps: 9 }, assignments);
const spent = (step: number, rewardQueries = 0, seconds = 0) => ({ step, rewardQueries, seconds });

describe('budget', () => {
  test('is used up by whichever runs out first', () => {
    expect(spentShare(config(), spent(3, 1e9, 1e9))).toBeCloseTo(1 / 3);
    const both = config(['budget.rewardQueries', 100], ['budget.seconds', 10]);
    expect(spentShare(both, spent(1, 50, 2))).toBe(0.5);
    expect(spentShare(both, spent(1, 50, 9))).toBe(0.9);
    expect(spentShare(both, spent(9))).toBe(1);
  });

  test('the last update is evaluated, and the others every so often', () => {
    const due = (c: ReturnType<typeof config>): number[] =>
      Array.from({ length: 9 }, (_, i) => i + 1).filter((i) => evaluationDue(c, spent(i - 1), spent(i)));
    expect(due(config(['evaluation.every', 4]))).toEqual([4, 8, 9]);
    expect(due(config(['evaluation.every', 0]))).toEqual([9]);
    expect(due(config(['evaluation.times', 3]))).toEqual([3, 6, 9]);
    expect(due(config(['evaluation.times', 2], ['evaluation.every', 1]))).toEqual([5, 9]);
    expect(due(config(['evaluation.times', 20]))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('evaluations are spread over what ends the run', () => {
    const c = config(['budget.rewardQueries', 100], ['evaluation.times', 2]);
    expect(evaluationDue(c, spent(1, 24), spent(2, 48))).toBe(false);
    expect(evaluationDue(c, spent(2, 48), spent(3, 72))).toBe(true);
    expect(evaluationDue(c, spent(3, 72), spent(4, 96))).toBe(false);
    expect(evaluationDue(c, spent(4, 96), spent(5, 120))).toBe(true);
  });
});

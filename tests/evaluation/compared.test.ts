import { describe, expect, test } from 'vitest';
import { bootstrapInterval } from '../../src/evaluation/bootstrap.js';
import { compared, gainText, intervalText } from '../../src/evaluation/compared.js';
import { pairedDifference } from '../../src/evaluation/evaluation.js';
import { normal, uniform } from '../../src/random/random.js';

const on = { list: 'l', prompts: 2, images: 4, seed: 9, untrained: true };
const measured = (rewards: number[]) => ({
  evaluation: { step: 0, reward: rewards.reduce((a, b) => a + b, 0) / rewards.length, heldOutScores: [1] },
  rewards: Float32Array.from(rewards), prompts: ['a', 'a', 'b', 'b'],
});

test('the mean of differences, and its error between images or between groups of them', () => {
  const [before, after] = [[0, 10, 0, 10], [1, 11, 3, 13]];
  // Differences 1, 1, 3, 3: deviation √(4/3) over √4; between the groups' means 1 and 3: √2 over √2.
  expect(pairedDifference(before, after)).toEqual({ mean: 2, error: expect.closeTo(Math.sqrt(1 / 3), 12) });
  expect(pairedDifference(before, after, ['a', 'a', 'b', 'b'])).toEqual({ mean: 2, error: expect.closeTo(1, 12) });
  expect(pairedDifference([1], [4])).toEqual({ mean: 3, error: null });
  expect(() => pairedDifference([1], [1, 2])).toThrow('pairs of 1 and 2');
});

test('a gain is told in deviations of the base model\'s images, its error over prompts', () => {
  const base = measured([0, 2, 0, 2]);
  const { gainInDeviations, gainError, tuned } = compared(on, base, measured([1, 3, 3, 5]));
  const unit = Math.sqrt(4 / 3);
  expect([gainInDeviations, gainError]).toEqual([expect.closeTo(2 / unit, 6), expect.closeTo(1 / unit, 6)]);
  expect(gainText({ gainInDeviations, gainError })).toBe('+1.73 ± 0.87');
  expect(Object.keys(tuned)).toEqual(['step', 'reward']);
});

test('what changed is told prompt by prompt, of the measures that there are', () => {
  const with_ = (scores: number[], diversities: number[]) => {
    const m = measured([0, 2, 0, 2]);
    return { ...m, evaluation: { ...m.evaluation, heldOutScores: scores, diversities } };
  };
  const unit = Math.sqrt(4 / 3);
  const { changes } = compared(on, with_([0, 0, 1, 1], [0.5, 0.25]), { ...with_([1, 2, 1, 1], [0.25, 0.5]), rewards: Float32Array.from([1, 3, 3, 5]) });
  expect(changes).toEqual({ wins: [1, 1], gain: [1 / unit, 3 / unit].map((g) => expect.closeTo(g, 6)), heldOut: [1.5, 0], diversity: [-0.25, 0.25] });
});

describe('an interval', () => {
  const drawn = (seed: number, count: number, skewed: boolean): number[] => (skewed
    ? Array.from(uniform({ seed, stream: 'x', step: 0 }, 0, count), (u) => -Math.log1p(-u) - 1)
    : [...normal({ seed, stream: 'x', step: 0 }, 0, count)]);

  test('holds the truth in about 95% of the cases, of 16 prompts', () => {
    for (const [skewed, least] of [[false, 0.9], [true, 0.86]] as const) {
      const held = Array.from({ length: 60 }, (_, seed) => bootstrapInterval(drawn(seed, 16, skewed))!).filter(({ low, high }) => low <= 0 && high >= 0).length / 60;
      expect(held).toBeGreaterThanOrEqual(least);
      expect(held).toBeLessThan(1);
    }
  });

  test('is the same each time, and none of three values or equal ones', () => {
    expect(bootstrapInterval([1, 2, 3, 5])).toEqual(bootstrapInterval([1, 2, 3, 5]));
    expect(bootstrapInterval([1, 2, 3])).toBeNull();
    expect(bootstrapInterval([2, 2, 2, 2])).toBeNull();
    expect(intervalText(undefined)).toBe('');
  });
});

test('pictures that all have one reward have no unit; a single prompt has its images', () => {
  expect(compared(on, measured([1, 1, 1, 1]), measured([2, 2, 2, 2]))).toMatchObject({ gainInDeviations: null, gainError: null });
  expect(gainText({ gainInDeviations: null, gainError: null })).toBe('');
  const one = compared({ ...on, prompts: 1 }, measured([0, 2, 0, 2]), measured([1, 3, 3, 5]));
  expect(one.gainError).toBeCloseTo(0.5, 6);
});

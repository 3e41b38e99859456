import { expect, test } from 'vitest';
import { compared, gainText } from '../../src/evaluation/compared.js';
import { pairedDifference } from '../../src/evaluation/evaluation.js';

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

test('pictures that all have one reward have no unit; a single prompt has its images', () => {
  expect(compared(on, measured([1, 1, 1, 1]), measured([2, 2, 2, 2]))).toMatchObject({ gainInDeviations: null, gainError: null });
  expect(gainText({ gainInDeviations: null, gainError: null })).toBe('');
  const one = compared({ ...on, prompts: 1 }, measured([0, 2, 0, 2]), measured([1, 3, 3, 5]));
  expect(one.gainError).toBeCloseTo(0.5, 6);
});

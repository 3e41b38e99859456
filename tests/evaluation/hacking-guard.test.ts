import { describe, expect, test } from 'vitest';
import { bestText, brokenConstraints, GUARD_DEFAULTS, guardText, guardVerdict } from '../../src/evaluation/hacking-guard.js';
import type { Evaluation } from '../../src/evaluation/evaluation.js';
import type { Judged } from '../../src/evaluation/hacking-guard.js';
import { studentTail } from '../../src/evaluation/student.js';
import { falseStops, NULL_JUDGES, nullRun } from './null-judges.js';

type Column = 'reward' | 'heldOutReward' | 'diversity' | 'frechet';

/** Evaluations every 10 steps from columns; what is not given stays as in the base model. */
function run(columns: Partial<Record<Column, number[]>>): Evaluation[] {
  const length = Math.max(...Object.values(columns).map((c) => c.length));
  return Array.from({ length }, (_, i) => ({
    step: 10 * i,
    reward: columns.reward?.[i] ?? i,
    ...(columns.heldOutReward && { heldOutReward: columns.heldOutReward[i]!, heldOutError: 0.1 }),
    diversity: columns.diversity?.[i] ?? 1,
    frechet: columns.frechet?.[i] ?? 0,
  }));
}

/** The errors of these histories are independent ones of 0.1: a fall is one by more than 2 · √2 · 0.1 ≈ 0.283. */
const TWO = { ...GUARD_DEFAULTS, tolerance: 2 };

describe('best', () => {
  test('has the highest reward of those that the judge likes no less than the ones before', () => {
    // Than the highest before, the base's included.
    expect(guardVerdict(run({ reward: [0, 1, 2, 3, 4], heldOutReward: [0.5, 0.6, 0.7, 0.45, 0.4] }), TWO).best).toBe(3);
    expect(guardVerdict(run({ reward: [0, 1, 3, 2, 4], heldOutReward: [0.5, 0.6, 0.35, 0.7, 0.4] }), TWO).best).toBe(2);
    expect(guardVerdict(run({ reward: [0, 1, 2], heldOutReward: [0.5, 0.2, 0.1] }), TWO).best).toBe(0);
    expect(guardVerdict(run({ reward: [0, 1, 2], heldOutReward: [0.5, 0.4, 0.4] }), { ...GUARD_DEFAULTS, tolerance: 0 }).best).toBe(0);
  });
  test('once chosen it stays until a later one has more reward: its weights are kept only then', () => {
    const history = run({ reward: [0, 3, 2.5, 2, 4], heldOutReward: [0.5, 0.55, 0.7, 0.99, 0.8] });
    expect(history.map((_, i) => guardVerdict(history.slice(0, i + 1)).best)).toEqual([0, 1, 1, 1, 4]);
  });
  test('keeps the diversity', () => {
    expect(guardVerdict(run({ heldOutReward: [0, 0.3, 0.4, 0.5], diversity: [1, 0.8, 0.49, 0.5] })).best).toBe(3);
    expect(guardVerdict(run({ heldOutReward: [0, 0.3, 0.4, 0.5], diversity: [1, 0.8, 0.4, 0.3] })).best).toBe(1);
    const strict = { ...GUARD_DEFAULTS, minDiversity: 0.9 };
    expect(guardVerdict(run({ heldOutReward: [0, 0.3, 0.4, 0.5], diversity: [1, 0.8, 0.4, 0.3] }), strict).best).toBe(0);
  });
  test('keeps the Fréchet distance where it is limited', () => {
    const history = run({ heldOutReward: [0, 0.3, 0.4], frechet: [0, 1, 5] });
    expect(guardVerdict(history).best).toBe(2);
    expect(guardVerdict(history, { ...GUARD_DEFAULTS, maxFrechet: 2 }).best).toBe(1);
  });
  test('is the base model if nothing beats it, and the earliest among equals', () => {
    expect(guardVerdict(run({ reward: [2, 1, 2] })).best).toBe(0);
    expect(guardVerdict(run({ reward: [1, 2, 2] })).best).toBe(1);
  });
  test('goes by the reward where there is no judge', () => {
    expect(guardVerdict(run({ reward: [0, 2, 1] })).best).toBe(1);
  });
});

/** Three images' scores: what is common to all evaluations varies by far more than what changes. */
const scores = (change: number): number[] => [change - 0.02, 1 + change, 2 + change + 0.02];

describe('what the judge thinks', () => {
  const judged = (change: number, i: number): Evaluation & { heldOutScores: number[] } =>
    ({ step: i, reward: i, heldOutReward: 1 + change, heldOutError: 0.58, heldOutScores: scores(change) });

  test('is compared image by image: what differs between images cancels', () => {
    // Means fall by 0.1 with an error of 0.58 each; the images themselves all by 0.1.
    const history = [judged(0, 0), { ...judged(-0.1, 1), heldOutScores: [-0.11, 0.9, 1.91] }];
    expect(guardVerdict(history).best).toBe(0);
    expect(guardVerdict(history.map((e) => ({ ...e, heldOutScores: undefined }))).best).toBe(1);
    // One image falls by 0.3, the others stay: 0.1 ± 0.1.
    const one = [judged(0, 0), { ...judged(-0.1, 1), heldOutScores: [-0.02, 1, 1.72] }];
    expect(guardVerdict(one).best).toBe(1);
    expect(guardVerdict(one, { ...GUARD_DEFAULTS, tolerance: 0.9 }).best).toBe(0);
  });
});

describe('a run in which nothing goes wrong', () => {
  // 5% of 120 runs are 6 ± 2.4; `npm run bench -- guard` has more.
  const share = (name: string, options = GUARD_DEFAULTS): number => falseStops(name, 120, 12, { images: 16, diverse: true }, options).at(-1)!;

  test.each(Object.keys(NULL_JUDGES))('is stopped in less than 5% of the cases: %s', (name) => {
    expect(share(name)).toBeLessThanOrEqual(0.05);
  });

  test('is stopped more often by a fixed tolerance', () => {
    expect(share('a walk', { ...GUARD_DEFAULTS, tolerance: 2 })).toBeGreaterThan(0.08);
  });

  test('while a fall of one deviation of the differences is found at the first evaluations that can', () => {
    const fallen = nullRun('anew each time', 0, 6).map((e, k) => {
      const heldOutScores = e.heldOutScores!.map((s) => s - (k > 2 ? Math.SQRT2 : 0));
      return { ...e, heldOutScores, heldOutReward: heldOutScores.reduce((a, b) => a + b, 0) / heldOutScores.length };
    });
    expect(fallen.map((_, i) => guardVerdict(fallen.slice(0, i + 1)).stop?.rule ?? '')).toEqual(['', '', '', '', 'held-out', 'held-out', 'held-out']);
  });

  test('and Student\'s tail is that of scipy', () => {
    for (const [t, freedom, tail] of [[2.039513446396408, 31, 0.025], [5.444679677205585, 31, 3e-6], [3183.0987571181513, 1, 1e-4], [0.5843897274398188, 3, 0.3], [5.387193370779757, 200, 1e-7]] as const) {
      expect(studentTail(t, freedom) / tail).toBeCloseTo(1, 9);
    }
  });
});

describe('a diversity below the limit', () => {
  const run2 = (diversities: number[]): Judged[] => [[1, 1, 1, 1], diversities, diversities].map((d, step) =>
    ({ step, reward: step, diversity: d.reduce((a, b) => a + b, 0) / 4, diversities: d }));
  test('stops a run when the prompts agree, not when one of them decides', () => {
    expect(guardVerdict(run2([0.3, 0.32, 0.28, 0.3])).stop?.rule).toBe('diversity');
    expect(guardVerdict(run2([0.6, 0.6, 0.6, 0.1])).stop).toBeNull();
    expect(guardVerdict(run2([0.6, 0.6, 0.6, 0.1])).best).toBe(0); // it is no checkpoint to keep all the same
  });
});

describe('what was not measured', () => {
  const bare = (rewards: number[]): Evaluation[] => rewards.map((reward, step) => ({ step, reward }));

  test('breaks no rule, whatever the limits', () => {
    const strict = { ...GUARD_DEFAULTS, minDiversity: 1, maxFrechet: 1e-9, tolerance: 0, patience: 1 };
    expect(guardVerdict(bare([0, 1, 3, 2]), strict)).toEqual({ stop: null, best: 2 });
  });

  test('is told at the start, with what gives it; the rules that are active too', () => {
    const options = { ...GUARD_DEFAULTS, enabled: true };
    const all = guardText({ heldOut: 'emoji-judge', features: true }, options);
    expect(all).toEqual({
      active: 'guard against reward hacking by diversity (at least 50% of the base model\'s), held-out judge emoji-judge'
        + '; chance that it stops a run that does nothing wrong: at most 5%',
      missing: null,
    });
    const none = guardText({ heldOut: null, features: false }, options);
    expect(none.active).toContain('no rule is active');
    expect(none.missing).toMatch(/evaluation\.heldOut=REWARD.*evaluation\.features=CLIP_FOLDER/);
    const half = guardText({ heldOut: 'x', features: false }, { ...options, enabled: false });
    expect(half.active).toMatch(/^guard against reward hacking by held-out judge x, .*do not stop the run/);
    expect(half.missing).not.toContain('heldOut=');
  });

  test('has no place in the rule for the best; the others are told as they are set', () => {
    const options = { minDiversity: 0.7, falseStops: 0.05, tolerance: 1.5, patience: 2, maxFrechet: 0.4 };
    expect(bestText({ heldOut: null, features: false }, options)).toBe('The highest reward.');
    const text = bestText({ heldOut: 'x', features: true }, options);
    for (const part of ['at least 70%', 'Fréchet distance of 0.4', 'more than 1.5 standard errors']) expect(text).toContain(part);
    expect(bestText({ heldOut: 'x', features: false }, options)).not.toMatch(/70|Fréchet/);
  });
});

describe('stop', () => {
  const ruleAt = (history: Evaluation[], options = GUARD_DEFAULTS): [number, string][] =>
    history.flatMap((_, i) => {
      const { stop } = guardVerdict(history.slice(0, i + 1), options);
      return stop ? [[i, stop.rule] as [number, string]] : [];
    });

  test('not while all goes well', () => {
    expect(ruleAt(run({ heldOutReward: [0, 0.1, 0.2, 0.3, 0.4], diversity: [1, 0.9, 0.8, 0.7, 0.6] }))).toEqual([]);
  });
  test('when the diversity stays below half of the base model\'s', () => {
    expect(ruleAt(run({ diversity: [0.6, 0.4, 0.29, 0.4, 0.29, 0.28] }))).toEqual([[5, 'diversity']]);
    expect(guardVerdict(run({ diversity: [0.6, 0.4, 0.29, 0.24] })).stop?.reason).toBe(
      'in 2 evaluations in a row, at step 30 diversity is 40% of the base model\'s, below 50%');
    const patient = { ...GUARD_DEFAULTS, patience: 3 };
    expect(ruleAt(run({ diversity: [1, 0.4, 0.4, 0.4] }), patient)).toEqual([[3, 'diversity']]);
  });
  test('when the judge turns away while the reward rises', () => {
    const heldOutReward = [0, 0.5, 0.2, 0.3, 0.21, 0.2];
    expect(ruleAt(run({ heldOutReward }), TWO)).toEqual([[5, 'held-out']]);
    expect(guardVerdict(run({ heldOutReward }), TWO).stop?.reason).toBe('in 2 evaluations in a row, at step 50 the held-out reward '
      + 'is 0.2, down from 0.5 at step 10, while the reward rose from 1 to 5');
    expect(guardVerdict(run({ heldOutReward }), TWO).best).toBe(3);
  });
  test('not when the reward falls with the judge: that is no hacking', () => {
    expect(ruleAt(run({ heldOutReward: [0, 0.5, 0.1, 0.1, 0.1], reward: [0, 3, 2, 1, 0] }), TWO)).toEqual([]);
  });
  test('when the images stray too far, if a limit is set', () => {
    const history = run({ frechet: [0, 3, 5, 6] });
    expect(ruleAt(history)).toEqual([]);
    expect(ruleAt(history, { ...GUARD_DEFAULTS, maxFrechet: 4 })).toEqual([[3, 'frechet']]);
  });
  test('never at the base model\'s own evaluation, and not without it', () => {
    const strict = { ...GUARD_DEFAULTS, maxFrechet: 4, patience: 1 };
    expect(guardVerdict(run({ frechet: [9] }), strict)).toEqual({ stop: null, best: 0 });
    expect(() => guardVerdict([])).toThrow('base model');
  });
});

describe('constraints', () => {
  const seen = (step: number, reward: number, mean: number, error: number | null = 0.1): Judged => ({ step, reward, shortfalls: { other: { mean, error } } });
  test('a checkpoint that breaks one beyond chance is not chosen, however high its reward; below chance it is', () => {
    expect(guardVerdict([seen(0, 0, 0, 0), seen(1, 1, 0.15), seen(2, 2, 0.25)]).best).toBe(1);
    expect(guardVerdict([seen(0, 0, 0, 0), seen(1, 1, -1), seen(2, 2, -0.5)]).best).toBe(2);
  });
  test('one that keeps it comes before a base model that does not, and the reward decides where none does', () => {
    expect(guardVerdict([seen(0, 5, 1), seen(1, 1, 0), seen(2, 9, 1)]).best).toBe(1);
    expect(guardVerdict([seen(0, 0, 1), seen(1, 1, 1), seen(2, 2, 1)]).best).toBe(2);
    expect(brokenConstraints(seen(1, 1, 1))).toEqual(['other']);
    expect(bestText({ heldOut: null, features: false, constrained: ['other'] }, GUARD_DEFAULTS)).toMatch(/^The highest reward among the checkpoints that keep the constraint on other within chance/);
  });
});

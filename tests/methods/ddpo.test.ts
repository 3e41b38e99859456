import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { advantages } from '../../src/methods/advantage.js';
import { ddpo } from '../../src/methods/ddpo.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { blackBox, descend } from './descend.js';
import { affineStep, gaussianTask, tunedMoments } from './gaussian-task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { openLikelihoods } from './likelihoods.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];
const stochastic = { steps: 4, eta: 1, lastStep: 'ddpo' as const };

describe('DDPO', () => {
  test('before the first update the importance ratio is exactly 1, after it not', async () => {
    const [first, second] = await descend(ddpo, await tinyTask(stochastic), {}, { rounds: 1, lr: 1e-3, prompts: PROMPTS });
    expect(first!.metrics!['ratioError']).toBe(0);
    expect(first!.metrics!['clipped']).toBe(0);
    expect(second!.metrics!['ratioError']).toBeGreaterThan(1e-6);
    expect(second!.metrics!['clipped']).toBeGreaterThan(0);
  });

  test.each(['is', 'sf'])('%s: the gradient is that of likelihoods weighed by advantages', async (variant) => {
    const task = await tinyTask(stochastic);
    const { gradients, loss, rewards } = await firstUpdate(ddpo, task, { variant, rollouts: 1, clip: 100 }, PROMPTS);
    const trajectory = await (await openRollouts(task)).rollout(PROMPTS, 0);
    const advantage = advantages([...rewards], PROMPTS, new Map(), null, 5);
    const likelihoods = await openLikelihoods(task);
    const before = await likelihoods(trajectory);
    const objective = async (): Promise<number> => {
      const terms = (await likelihoods(trajectory)).flatMap((row, i) => row.map((lp, b) =>
        -advantage[b]! * (variant === 'is' ? Math.exp(lp - before[i]![b]!) : lp)));
      return terms.reduce((s, t) => s + t, 0) / terms.length;
    };
    expect(loss).toBeCloseTo(await objective(), 4);
    expect(await directionalError(task, gradients, objective, 4, 1e-3)).toBeLessThan(5e-3);
  });

  test('black boxes do, and every query is counted', async () => {
    const task = blackBox(await tinyTask(stochastic));
    const all = await descend(ddpo, task, { rollouts: 3, innerEpochs: 2 }, { rounds: 2, lr: 1e-4, prompts: PROMPTS });
    expect(all).toHaveLength(12); // 3 batches, twice, in 2 rounds
    expect(task.counts.rewardQueries).toBe(12);
    expect(all[0]!.rewards).toHaveLength(2);
  });

  test('updates share out the batches, and the score function allows one', async () => {
    const task = await tinyTask(stochastic);
    const one = await descend(ddpo, task, { variant: 'sf', rollouts: 4 }, { rounds: 1, lr: 1e-4, prompts: PROMPTS });
    expect(one).toHaveLength(1);
    expect(one[0]!.rewards).toHaveLength(8);
    expect(ddpo.options.safeParse({ variant: 'sf', innerEpochs: 2 }).error?.message).toMatch(/one update a round/);
    expect(ddpo.options.safeParse({ rollouts: 3, updates: 2 }).error?.message).toMatch(/evenly/);
  });

  test('a round of more ratios than a call takes arguments', async () => {
    const task = await tinyTask({ ...stochastic, steps: 2, batch: 130_000 });
    const prompts = Array.from({ length: task.batch }, (_, i) => PROMPTS[i % 2]!);
    const { metrics, rewards } = await firstUpdate(ddpo, task, { rollouts: 1 }, prompts);
    expect(rewards).toHaveLength(130_000);
    expect(metrics!['ratioError']).toBeLessThan(1e-3);
  });

  test('a fraction of the steps costs that fraction of the network calls', async () => {
    const calls = async (timestepFraction: number): Promise<number> => {
      const task = await tinyTask(stochastic);
      await firstUpdate(ddpo, task, { rollouts: 1, timestepFraction }, PROMPTS);
      return task.counts.denoiserCalls;
    };
    expect(await calls(0.5) - await calls(0.25)).toBe(2);
  });
});

describe('advantages', () => {
  const numbers = (t: HostTensor | undefined): number[] => Array.from(t!.data as Float32Array);

  test('by the round: mean 0, deviation 1, limited', () => {
    const a = advantages([1, 2, 3, 100], ['a', 'a', 'b', 'b'], new Map(), null, 1.5);
    expect(a[3]).toBe(1.5);
    expect(advantages([1, 3], ['a', 'b'], new Map(), null, 5)[1]).toBeCloseTo(1, 6);
  });

  test("by the prompt's latest rewards once there are enough, by the round until then", () => {
    const memory = new Map<string, HostTensor>();
    const statistics = { buffer: 3, minCount: 3 };
    const first = advantages([1, 3, 10, 30], ['a', 'a', 'b', 'b'], memory, statistics, 5);
    advantages([1, 3, 10, 30], ['a', 'a', 'b', 'b'], new Map(), null, 5).forEach((a, i) => expect(first[i]).toBeCloseTo(a, 5));
    expect(numbers(memory.get('rewards/a'))).toEqual([1, 3]);
    const second = advantages([5, 7, 10, 30], ['a', 'a', 'b', 'c'], memory, statistics, 5);
    expect(numbers(memory.get('rewards/a'))).toEqual([3, 5, 7]);
    expect(second[0]).toBeCloseTo(0, 6);
    expect(second[1]).toBeCloseTo(2 / Math.sqrt(8 / 3), 5);
    expect(second[2]).toBeCloseTo(-Math.SQRT1_2, 5); // of 10, 30, 10
    expect(numbers(memory.get('rewards/c'))).toEqual([30]);
  });
});

describe('DDPO on a Gaussian', () => {
  const prompts = (batch: number): string[] => new Array<string>(batch).fill('');
  const options = { perPrompt: null };

  test('the expected gradient is the analytic policy gradient', async () => {
    const [batch, size, m] = [256, 4, 2];
    const task = await gaussianTask({ steps: 4, batch, size, mean: m });
    const { gradients } = await firstUpdate(ddpo, task, { ...options, rollouts: 16, updates: 1 }, prompts(batch));
    // x_T = Σ g_i σ_i z_i + …, so E[r ∂ log p_i/∂b_i] = (m − E x_T)·g_i·∂μ_i/∂b_i for each of the elements averaged over.
    const chain = task.plan.steps.map((step) => affineStep(step, 0, 0));
    const { mean, variance } = tunedMoments(task);
    const deviation = Math.sqrt(size * (2 * variance ** 2 + 4 * (m - mean) ** 2 * variance) / 4);
    const [count, b] = [chain.length, gradients.get('b')!.data as Float32Array];
    task.plan.steps.forEach((step, i) => {
      const after = chain.slice(i + 1).reduce((g, { A }) => g * A, 1);
      // In units of z, whose correlation with 4,096 advantages has a deviation of 0.008.
      const correlation = (-b[count - i]! * count * step.std) / step.meanFromOutput;
      const expected = ((m - mean) * after * step.std) / deviation;
      expect(Math.abs(correlation - expected), `step ${i}: ${correlation}, ${expected}`).toBeLessThan(0.03);
      if (i === 0) expect(expected).toBeGreaterThan(0.1);
    });
  });

  test('the mean of the samples moves to the maximum of the reward', async () => {
    const task = await gaussianTask({ steps: 5, batch: 64, size: 4, mean: 1 });
    const all = await descend(ddpo, blackBox(task), options, { rounds: 50, lr: 0.03, prompts: prompts(64) });
    const mean = (u: { rewards: Float32Array }): number => u.rewards.reduce((s, r) => s + r, 0) / u.rewards.length;
    expect(tunedMoments(task).mean).toBeGreaterThan(0.8);
    expect(tunedMoments(task).mean).toBeLessThan(1.2);
    expect(mean(all.at(-1)!)).toBeGreaterThan(mean(all[0]!) + 1);
  });
});

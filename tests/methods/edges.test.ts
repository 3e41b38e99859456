/** @file Small rules of methods, each by a closed form; each kills a mutant (tools/mutate) that other tests let live. */
import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { d3po } from '../../src/methods/d3po.js';
import { ddpo } from '../../src/methods/ddpo.js';
import { dpo } from '../../src/methods/dpo.js';
import { grpo } from '../../src/methods/grpo.js';
import type { Method, Update } from '../../src/methods/method.js';
import { refl } from '../../src/methods/refl.js';
import { smoothedGradient } from '../../src/methods/smoothed-reward.js';
import type { Task } from '../../src/methods/task.js';
import { descend } from './descend.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a', 'four'];
const stochastic = { eta: 1, lastStep: 'ddpo' } as const;

test('a smoothed reward is the mean over its draws, each made anew; of a linear one the gradient is the same everywhere', async () => {
  const seen: Float32Array[] = [];
  const slope = Float32Array.from({ length: 24 }, (_, i) => i - 7);
  const rewardOf = (x: Float32Array, b: number): number => x.subarray(12 * b, 12 * b + 12).reduce((sum, v, i) => sum + v * slope[12 * b + i]!, 0);
  const task = {
    seed: 5, sampleShape: [3, 2, 2], microbatch: 2,
    reward: {
      gradient: async (samples: { data: Float32Array }) => {
        seen.push(samples.data);
        return { score: Float32Array.from(PROMPTS, (_, b) => rewardOf(samples.data, b)), gradient: host(slope, [2, 3, 2, 2]) };
      },
    },
  } as unknown as Task;
  const x = host(new Float32Array(24).fill(0.5), [2, 3, 2, 2]);
  const { score, gradient } = await smoothedGradient(task, 3, 0.2, 0)(x, PROMPTS);
  expect(seen).toHaveLength(3);
  expect(new Set(seen.map((s) => s[0])).size).toBe(3);
  (gradient.data as Float32Array).forEach((v, i) => expect(v).toBeCloseTo(slope[i]!, 4));
  PROMPTS.forEach((_, b) => expect(score[b]).toBeCloseTo(seen.reduce((sum, s) => sum + rewardOf(s, b) / 3, 0), 3));
  expect(await smoothedGradient(task, 1, 0.2, 0)(x, PROMPTS)).toMatchObject({ gradient: { data: slope } });
});

test.each([
  [ddpo, { rollouts: 1, perPrompt: null }, 1], [d3po, {}, 4], [grpo, { group: 2, updates: 1, kl: 0 }, 2],
] as unknown as [Method<unknown>, object, number][])('$name: a fraction of the steps is rounded down, to one at least', async (method, options, calls) => {
  const learnt = async (timestepFraction: number): Promise<number> => {
    const task = await tinyTask({ steps: 5, ...stochastic });
    await descend(method, task, { ...options, timestepFraction }, { rounds: 1, lr: 0, prompts: PROMPTS });
    return task.counts.denoiserCalls;
  };
  const [all, most, few] = [await learnt(1), await learnt(0.79), await learnt(0.1)];
  // 5, 3 and 1 of the five steps.
  expect([all - most, most - few]).toEqual([2 * calls * PROMPTS.length, 2 * calls * PROMPTS.length]);
});

const updates = async <O>(method: Method<O>, options: object, { rounds = 1, lr = 0, steps = 4 } = {}): Promise<Update[]> =>
  descend(method, await tinyTask({ steps, ...stochastic }), options, { rounds, lr, prompts: PROMPTS });

test('inner epochs are as many updates', async () => {
  expect(await updates(d3po, { innerEpochs: 2 })).toHaveLength(2);
  expect(await updates(ddpo, { rollouts: 2, updates: 2, innerEpochs: 2, perPrompt: null })).toHaveLength(4);
});

test('a policy that is its reference prefers neither of a pair, and is not pulled back', async () => {
  expect((await updates(dpo, { samples: 2 }))[0]!.metrics).toEqual({ implicitAccuracy: 0 });
  const [first, second] = await updates(grpo, { group: 2, updates: 2, kl: 1 }, { lr: 0.05 });
  expect(first!.metrics).not.toHaveProperty('pull');
  expect(second!.metrics!['pull']).toBeGreaterThan(0);
});

test('ReFL: one of the last steps of its window, and a loss that is as many times as large as its scale', async () => {
  const visited = async (window: number): Promise<number[]> =>
    [...new Set((await updates(refl, { window }, { rounds: 12 })).map((u) => u.metrics!['at']!))].toSorted();
  expect(await visited(0.5)).toEqual([2, 3]);
  expect(await visited(0.01)).toEqual([3]);
  const [one, three] = [(await updates(refl, {}))[0]!, (await updates(refl, { scale: 3 }))[0]!];
  expect(three.loss).toBeCloseTo(3 * one.loss, 5);
});

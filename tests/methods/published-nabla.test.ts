/**
 * @file What the published code of ∇-DB does otherwise than its paper (algorithms.md §1.7), made here beside the method that
 * does not.
 */
import { expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import type { Update } from '../../src/methods/method.js';
import { nablaDb } from '../../src/methods/nabla-db.js';
import { openRollouts } from '../../src/methods/rollout.js';
import type { Task } from '../../src/methods/task.js';
import { normal } from '../../src/random/random.js';
import { transitionMean } from '../../src/schedulers/step.js';
import { initAdamW, updateAdamW } from '../../src/training/adamw.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];
const tiny = (): Promise<Task> => tinyTask({ eta: 1, lastStep: 'ddpo' });

async function rounds(task: Task, given: object, prompts: readonly (readonly string[])[]): Promise<Update[]> {
  const rule = await nablaDb.create(task, nablaDb.options.parse({ beta: 1, trust: 1, fraction: 0.5, flow: false, ...given }));
  const updates: Update[] = [];
  for (const [round, list] of prompts.entries()) for await (const update of rule.round(list, round)) updates.push(update);
  return updates;
}

test('trajectories of the round before are scored with the prompts of this one', async () => {
  const lists = [PROMPTS, PROMPTS.toReversed()];
  const [right] = await rounds(await tiny(), { lag: true }, lists);
  const [first] = await rounds(await tiny(), {}, lists);
  expect(right!.rewards).toEqual(first!.rewards);
  const task = await tiny();
  const wrong: Task = { ...task, reward: { ...task.reward, gradient: (samples) => task.reward.gradient(samples, lists[1]!) } };
  const [published] = await rounds(wrong, { lag: true }, lists);
  expect([...published!.rewards]).not.toEqual([...right!.rewards]);
});

test('each update is applied twice: Adam goes nearly twice as far', async () => {
  const moved = async (times: number): Promise<number> => {
    const task = await tiny();
    const before = new Map([...task.parameters].map(([name, t]) => [name, t.data.slice() as Float32Array]));
    const state = initAdamW(task.parameters);
    for (const { gradients } of await rounds(task, {}, [PROMPTS])) {
      for (let i = 0; i < times; i++) updateAdamW(task.parameters as Map<string, HostTensor>, gradients, state, 1e-3, { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 });
    }
    return Math.hypot(...[...before].flatMap(([name, old]) => [...old].map((v, i) => v - Number(task.parameters.get(name)!.data[i]))));
  };
  expect((await moved(2)) / (await moved(1))).toBeCloseTo(2, 2);
});

test('new x\' are drawn, one for each of both models: the difference of their scores is noise of size 2/σ² alone', async () => {
  const task = await tiny();
  const [update] = await rounds(task, { beta: 0, fraction: 1 }, [PROMPTS]);
  // With the stored x' both scores are the same at the start.
  expect(update!.metrics!['forward']).toBeLessThan(1e-6);
  const { x, outputs, steps } = await (await openRollouts(task)).rollout(PROMPTS, 0);
  steps.forEach((step, i) => {
    const mu = transitionMean(step, x[i]!.data as Float32Array, outputs[i]!.data as Float32Array);
    const fresh = (stream: string): number[] => Array.from(normal({ seed: 3, stream, step: i }, 0, mu.length), (z, k) => mu[k]! + step.std * z);
    const [ours, prior] = [fresh('tuned'), fresh('prior')];
    const squares = ours.map((next, k) => (((mu[k]! - next) - (mu[k]! - prior[k]!)) / step.std ** 2) ** 2);
    const mean = squares.reduce((a, b) => a + b) / squares.length;
    expect(mean * step.std ** 2).toBeGreaterThan(0.7);
    expect(mean * step.std ** 2).toBeLessThan(5);
  });
});

test('the prior\'s strength is applied to the tuned model\'s reverse score as well: at the start its balance is 0 at any strength', async () => {
  const task = await tiny();
  // ∇_x log P_θ − w·∇_x log P_ref at θ = ref: (1 − w) of the score, where the published code has w − w.
  const reverse = async (priorStrength: number): Promise<number> => {
    const rule = await nablaDb.create(task, nablaDb.options.parse({ beta: 0, trust: 0, fraction: 1, flow: true, path: 0, priorStrength }));
    for (const { data } of rule.own!.parameters.values()) (data as Float32Array).fill(0);
    for await (const { metrics } of rule.round(PROMPTS, 0)) return metrics!['reverse']!;
    throw new Error('no update');
  };
  const [full, half, none] = [await reverse(1), await reverse(0.5), await reverse(0)];
  expect(full).toBeLessThan(1e-6 * none);
  expect(half / none).toBeCloseTo(0.25, 4);
});

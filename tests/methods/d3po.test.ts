import { describe, expect, test } from 'vitest';
import { d3po } from '../../src/methods/d3po.js';
import { decidedWeights, rank } from '../../src/methods/preference.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { blackBox, descend } from './descend.js';
import { gaussianTask, tunedMoments } from './gaussian-task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { openLikelihoods } from './likelihoods.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];
const stochastic = { steps: 4, eta: 1, lastStep: 'ddpo' as const };

describe('D3PO', () => {
  test('the loss is log 2 while the model is the reference, and its gradient that of the preferred likelihoods', async () => {
    const task = await tinyTask(stochastic);
    const { gradients, loss, rewards } = await firstUpdate(d3po, task, { beta: 2 }, PROMPTS);
    expect(loss).toBeCloseTo(Math.log(2), 6);
    const rollouts = await openRollouts(task);
    const first = await rollouts.rollout(PROMPTS, 0);
    const second = await rollouts.rollout(PROMPTS, 0, { start: first.x[0]!, copy: 1 });
    const likelihoods = await openLikelihoods(task);
    const [was0, was1] = [await likelihoods(first), await likelihoods(second)];
    const objective = async (): Promise<number> => {
      const [now0, now1] = [await likelihoods(first), await likelihoods(second)];
      const terms = now0.flatMap((row, i) => row.map((lp, b) => {
        const preferred = Math.sign(rewards[b]! - rewards[2 + b]!);
        const margin = lp - was0[i]![b]! - (now1[i]![b]! - was1[i]![b]!);
        return Math.log1p(Math.exp(-2 * preferred * margin));
      }));
      return terms.reduce((s, t) => s + t, 0) / terms.length;
    };
    expect(await directionalError(task, gradients, objective, 4, 1e-3)).toBeLessThan(5e-3);
  });

  test('both samples start from the same noise and differ at every later step', async () => {
    const rollouts = await openRollouts(await tinyTask(stochastic));
    const first = await rollouts.rollout(PROMPTS, 0);
    const second = await rollouts.rollout(PROMPTS, 0, { start: first.x[0]!, copy: 1 });
    expect(second.x[0]!.data).toEqual(first.x[0]!.data);
    for (let i = 1; i <= 4; i++) expect(second.x[i]!.data).not.toEqual(first.x[i]!.data);
  });

  test('ties teach nothing', async () => {
    const task = blackBox(await tinyTask(stochastic), () => 1);
    const { gradients, loss } = await firstUpdate(d3po, task, {}, PROMPTS);
    expect(loss).toBe(0);
    for (const g of gradients.values()) expect(g.data.every((v) => Number(v) === 0)).toBe(true);
  });

  test('on a Gaussian the mean moves towards what the reward prefers; black boxes do', async () => {
    const task = await gaussianTask({ steps: 8, batch: 64, size: 4, mean: 1 });
    await descend(d3po, blackBox(task, (r) => Math.round(10 * r)), {}, { rounds: 40, lr: 0.02, prompts: new Array<string>(64).fill('') });
    expect(task.counts.rewardQueries).toBe(40 * 128);
    expect(tunedMoments(task).mean).toBeGreaterThan(0.3);
  });
});

test('ranking is made for each prompt', () => {
  const ranking = rank([[1, 5, 2], [3, 4, 2], [2, 6, 2]].map((s) => Float32Array.from(s)));
  expect(ranking.best).toEqual([1, 2, 0]);
  expect(ranking.worst).toEqual([0, 1, 0]);
  expect([...ranking.gap]).toEqual([2, 2, 0]);
  expect([...decidedWeights(ranking.gap)]).toEqual([0.5, 0.5, 0]);
});

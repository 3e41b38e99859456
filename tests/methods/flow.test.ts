/** @file A flow model, of a family that no method was written for, is trained and searched by all of them. */
import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { ddpo } from '../../src/methods/ddpo.js';
import { draftLv } from '../../src/methods/draft-lv.js';
import { draft } from '../../src/methods/draft.js';
import type { UpdateRule } from '../../src/methods/method.js';
import { METHODS } from '../../src/methods/index.js';
import { nablaDb } from '../../src/methods/nabla-db.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { openExplorer } from '../../src/search/explorer.js';
import { bestOfN } from '../../src/search/best-of-n.js';
import { paths } from '../../src/search/paths.js';
import { initAdamW, updateAdamW } from '../../src/training/adamw.js';
import { flowTask, sampledMoments, VARIANCE } from './flow-task.js';
import type { FlowTask } from './flow-task.js';

const promptsOf = ({ batch }: FlowTask): string[] => new Array<string>(batch).fill('');

/** Trains with a learning rate that falls to nothing. */
async function train(task: FlowTask, rule: UpdateRule, rounds: number, lr: number): Promise<void> {
  const groups = [task.parameters, ...(rule.own ? [rule.own.parameters] : [])];
  const states = groups.map((g) => initAdamW(g));
  for (let round = 0; round < rounds; round++) {
    const rate = lr * Math.min(1, (2 * (rounds - round)) / rounds) ** 2;
    for await (const { gradients } of rule.round(promptsOf(task), round)) {
      groups.forEach((group, i) => {
        const own = new Map([...group.keys()].map((name): [string, HostTensor] => [name, gradients.get(name)!]));
        updateAdamW(group, own, states[i]!, rate, { beta1: 0.9, beta2: 0.99, epsilon: 1e-12, weightDecay: 0 });
      });
    }
  }
  await rule.release();
}

/** Mean of −½(x − 2)² over samples. */
const rewardOf = ({ mean, variance }: { mean: number; variance: number }): number => -0.5 * ((mean - 2) ** 2 + variance);

test('the base samples the data, with the deviation of its sampler (flow.md B2.2)', async () => {
  const task = await flowTask({ sampler: 'flow-euler' });
  expect(Math.sqrt(sampledMoments(task).variance)).toBeCloseTo(0.3592, 4);
  const { x } = await (await openRollouts(await flowTask({ options: { shift: 3, eta: 1 }, batch: 64, size: 64 }))).rollout(promptsOf(await flowTask({ batch: 64 })), 0);
  const all = x.at(-1)!.data as Float32Array;
  expect(all.reduce((sum, v) => sum + v * v, 0) / all.length).toBeCloseTo(0.3193 ** 2, 2);
});

test('DRaFT through all steps has the gradient of finite differences', async () => {
  const task = await flowTask({ sampler: 'flow-euler', steps: 4, batch: 2, size: 3 });
  const b = task.parameters.get('b')!.data as Float32Array;
  const rule = await draft.create(task, draft.options.parse({ k: 4 }) as never);
  const updateOf = async () => {
    for await (const update of rule.round(promptsOf(task), 0)) return update;
    throw new Error('no update');
  };
  const { gradients } = await updateOf();
  for (const i of [0, 2]) {
    const losses: number[] = [];
    for (const shift of [1e-2, -1e-2]) {
      b[i]! += shift;
      losses.push((await updateOf()).loss);
      b[i]! -= shift;
    }
    expect((losses[0]! - losses[1]!) / 2e-2).toBeCloseTo(Number(gradients.get('b')!.data[i]), 2);
  }
  await rule.release();
});

test('DRaFT-LV draws the samples to the best ones', async () => {
  const task = await flowTask({ sampler: 'flow-euler', options: { spacing: 'trailing' } });
  const before = rewardOf(sampledMoments(task));
  await train(task, await draftLv.create(task, draftLv.options.parse({})), 100, 1);
  expect(before).toBeLessThan(-2);
  expect(rewardOf(sampledMoments(task))).toBeGreaterThan(-0.02);
}, 60_000);

test.each(['flow-sde', 'ddim'] as const)('DDPO raises the reward on the steps of %s', async (sampler) => {
  const task = await flowTask({ sampler, options: { shift: 3, ...(sampler === 'ddim' && { eta: 1 }) }, batch: 64, size: 4 });
  const before = rewardOf(sampledMoments(task));
  await train(task, await ddpo.create(task, ddpo.options.parse({ variant: 'sf', perPrompt: null })), 60, 0.1);
  expect(rewardOf(sampledMoments(task))).toBeGreaterThan(0.5 * before);
}, 60_000);

describe('∇-DB on the posterior steps of DDIM, whose last step is deterministic', () => {
  // r = Σ x, β = 1: the chain of S steps, whose samples have less variance than the data, is tilted by just that variance.
  test.each([
    ['in its forward form', { flow: false, guess: 'base', gamma: 'one', trust: 0, fraction: 1 }],
    // Where the last transition begins the guess stands alone, as published: γ = signal² would take half of it there.
    ['by its defaults but γ', { gamma: 'one' }],
  ])('%s it ends at the tilt of what the chain samples (flow.md C7, D14)', async (_, options) => {
    const task = await flowTask({ options: { shift: 3, eta: 1 }, linear: true, size: 64 });
    const base = sampledMoments(task);
    expect(base.variance).toBeCloseTo(0.1019, 3);
    expect(base.variance).toBeLessThan(VARIANCE);
    await train(task, await nablaDb.create(task, nablaDb.options.parse({ beta: 1, ...options })), 160, 0.05);
    const { mean, variance } = sampledMoments(task);
    expect(Math.abs(mean - 0.1019), `mean ${mean}`).toBeLessThan(0.004);
    expect(Math.abs(variance - base.variance), `variance ${variance}`).toBeLessThan(0.004);
  }, 60_000);
});

test('searches find better samples, also where they go back in noise', async () => {
  const task = await flowTask({ sampler: 'flow-euler', batch: 4 });
  const explorer = await openExplorer(task);
  const request = { prompts: ['', ''], items: [0, 1] };
  const one = await bestOfN.run(explorer, { n: 1 }, request);
  for (const [search, options] of [[bestOfN, { n: 8 }], [paths, { n: 2, branches: 4 }]] as const) {
    const found = await (search as typeof bestOfN).run(explorer, search.options.parse(options) as never, request);
    const best = found.traces.map((trace) => Math.max(...trace.map((t) => t.score)));
    best.forEach((score, i) => expect(score).toBeGreaterThan(one.traces[i]![0]!.score));
  }
  await explorer.release();
});

test('every method makes a finite update of it', async () => {
  for (const method of METHODS) {
    const task = await flowTask({ options: { shift: 3, eta: 1 }, batch: 4, size: 4 });
    const rule = await method.create(task, method.options.parse({}));
    for await (const { gradients, loss } of rule.round(promptsOf(task), 0)) {
      expect(Number.isFinite(loss), method.name).toBe(true);
      for (const { data } of gradients.values()) expect([...(data as Float32Array)].every(Number.isFinite), method.name).toBe(true);
    }
    await rule.release();
  }
}, 120_000);

/** @file Methods that noise their own samples again: DiffusionNFT and AWM. */
import { describe, expect, test } from 'vitest';
import { mean } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import { grad } from '../../src/graph/grad.js';
import { host } from '../../src/graph/dtype.js';
import { awm, likelihood, openWeightedMatching } from '../../src/methods/awm.js';
import { nft, openMirrored } from '../../src/methods/nft.js';
import { noised, noisings } from '../../src/methods/own-group.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { samplesOf } from '../../src/methods/task.js';
import { normal } from '../../src/random/random.js';
import { compile } from '../../src/runtime/compile.js';
import { blackBox, descend } from './descend.js';
import { flowTask, sampledMoments } from './flow-task.js';
import { directionalError } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];
const settings = { beta: 1, kl: 0, selfNormalise: true, scale: 5 };

/** Two samples of the tiny task, noised, with what the network says of them; and the network somewhere else, if `moved`. */
async function scene(moved = false) {
  const task = await tinyTask({ steps: 4 });
  const rollouts = await openRollouts(task, 'tuned', 'rollout', { guided: false });
  const x0 = samplesOf(task, normal({ seed: 1, stream: 'x0', step: 0 }, 0, 24));
  const [noising] = noisings(task, task.plan.steps, 1, { stream: 'test', round: 0, copy: 0, rows: 2, stratified: false });
  const x = noised(x0, noising!);
  const said = await rollouts.predict(x, noising!.steps, PROMPTS);
  if (moved) for (const [name, p] of task.parameters) (p.data as Float32Array).forEach((v, i, a) => (a[i] = v + 0.05 * normal({ seed: 6, stream: name, step: 0 }, 0, i + 1)[i]!));
  return { task, x0, noising: noising!, x, said };
}

describe('noisings', () => {
  test('use levels of the sampler without repetition, one of each stretch if stratified', async () => {
    const { plan, ...task } = await tinyTask({ steps: 8 });
    const of = (stratified: boolean, round: number): number[][] => {
      const each = noisings({ plan, ...task }, plan.steps, 4, { stream: 'x', round, copy: 1, rows: 2, stratified });
      return [0, 1].map((b) => each.map(({ steps }) => plan.steps.indexOf(steps[b]! as never)));
    };
    for (let round = 0; round < 20; round++) {
      for (const row of of(false, round)) expect(new Set(row).size).toBe(4);
      for (const row of of(true, round)) row.forEach((i, j) => expect(Math.floor(i / 2)).toBe(j));
    }
    expect(of(false, 0)).not.toEqual(of(false, 1));
    expect(of(false, 0)[0]).not.toEqual(of(false, 0)[1]);
  });
});

describe('DiffusionNFT', () => {
  test('where new and old are the same the value says nothing of the reward, and the gradient is along (2r − 1)(x̂0 − x0)', async () => {
    const { task, x0, noising, x, said } = await scene();
    const loss = await openMirrored(task, settings);
    const of = (r: number) => loss.run(x0, x, said, Float32Array.of(r, r), noising, PROMPTS);
    const [bad, even, good] = [await of(0), await of(0.5), await of(1)];
    expect(bad.loss).toBeCloseTo(good.loss, 4);
    for (const [name, { data }] of good.gradients) {
      const [g, minus, zero] = [data, bad.gradients.get(name)!.data, even.gradients.get(name)!.data] as Float32Array[];
      const largest = Math.max(...g!.map(Math.abs));
      expect(largest).toBeGreaterThan(1e-3);
      g!.forEach((v, i) => expect(Math.abs(v + minus![i]!)).toBeLessThan(1e-4 * Math.max(1, largest)));
      zero!.forEach((v) => expect(Math.abs(v)).toBeLessThan(1e-4 * Math.max(1, largest)));
    }
  });

  test.each([['mirrored', settings], ['with a pull, by plain squares, β 0.3', { beta: 0.3, kl: 2, selfNormalise: false, scale: 1 }]])('the gradient is that of the loss: %s', async (_, options) => {
    const { task, x0, noising, x, said } = await scene(true);
    // What normalises is held fixed, so only plain squares can be differentiated by differences.
    const loss = await openMirrored(task, { ...options, selfNormalise: false });
    const run = () => loss.run(x0, x, said, Float32Array.of(0.9, 0.3), noising, PROMPTS);
    expect(await directionalError(task, (await run()).gradients, async () => (await run()).loss, 4, 5e-3)).toBeLessThan(5e-3);
  });

  test('normalised errors are squares over the mean distance', async () => {
    const { task, x0, noising, x, said } = await scene();
    const [plain, normalised] = [await openMirrored(task, { ...settings, selfNormalise: false }), await openMirrored(task, settings)];
    const only = (which: 0 | 1, loss: typeof plain) => loss.run(x0, x, said, Float32Array.of(1, 1), { ...noising, steps: [noising.steps[which]!, noising.steps[which]!] }, PROMPTS);
    expect((await only(0, normalised)).loss).toBeGreaterThan(0);
    expect((await only(0, normalised)).loss).not.toBeCloseTo((await only(0, plain)).loss, 3);
  });

  test('samples are the old policy\'s, which follows the new one at its distance', async () => {
    const task = blackBox(await tinyTask({ steps: 2 }));
    const rule = await nft.create(task, nft.options.parse({ group: 2, decay: 0.2 }));
    const start = Number(task.parameters.get('w1')!.data[0]);
    const olds: number[] = [];
    const firsts: number[] = [];
    for (let round = 0; round < 3; round++) {
      for await (const { rewards } of rule.round(PROMPTS, round)) firsts.push(rewards[0]!);
      olds.push(Number(task.copy('old').get('w1')!.data[0]));
      (task.parameters.get('w1')!.data as Float32Array)[0]! += 1;
    }
    expect(olds[0]).toBeCloseTo(start, 6);
    expect(olds[1]).toBeCloseTo(0.2 * start + 0.8 * (start + 1), 5);
    expect(olds[2]).toBeCloseTo(0.4 * olds[1]! + 0.6 * (start + 2), 5);
    await rule.release();
  });

  test('costs: the group by the old policy, and each noising three times', async () => {
    const task = blackBox(await tinyTask({ steps: 4 }));
    await descend(nft, task, { group: 3, times: 2 }, { rounds: 1, lr: 1e-3, prompts: PROMPTS });
    expect(task.counts).toEqual({ rewardQueries: 6, denoiserCalls: 6 * 4 + 6 * 2 * 3 });
  });
});

describe('AWM', () => {
  test('the likelihoods and their slopes (flow.md C6)', async () => {
    const error = input('error', [1]);
    const noise = host(Float32Array.of(0.8), [1]);
    const at = input('noise', [1]);
    for (const [weighting, value, slope] of [['ghuber', -2.6807492, -1.3454343], ['noise', -0.4, -0.8], ['uniform', -0.5, -1]] as const) {
      const lp = likelihood(error, at, { weighting, power: 0.25 });
      const executable = await compile({ outputs: { lp, slope: grad(mean(lp), [error])[0]! } }, { threads: 1 });
      const found = await executable.run({ error: host(Float32Array.of(0.5), [1]), noise });
      expect(Number(found.lp.data[0])).toBeCloseTo(value, 4);
      expect(Number(found.slope.data[0])).toBeCloseTo(slope, 4);
      await executable.release();
    }
  });

  test.each(['ghuber', 'uniform'] as const)('the gradient is that of the loss: %s', async (weighting) => {
    const { task, x0, noising, said } = await scene(true);
    const loss = await openWeightedMatching(task, { weighting, power: 0.25, kl: 0.5, averageKl: 0.3 });
    const run = () => loss.run(x0, said, Float32Array.of(1, -0.5), noising, PROMPTS);
    expect(await directionalError(task, (await run()).gradients, async () => (await run()).loss, 4, 5e-3)).toBeLessThan(5e-3);
  });

  test('costs: the group, and each noising by the average, the new and the reference', async () => {
    const task = blackBox(await tinyTask({ steps: 8 }));
    await descend(awm, task, { group: 2, times: 3 }, { rounds: 1, lr: 1e-3, prompts: PROMPTS });
    expect(task.counts).toEqual({ rewardQueries: 4, denoiserCalls: 4 * 8 + 4 * 3 * 3 });
    expect(task.copies.has('average')).toBe(true);
  });
});

test.each([['nft', nft, { decay: 0.1 }], ['awm', awm, { averageKl: 0.1 }]] as const)('on a flow the reward rises: %s', async (_, method, options) => {
  const task = await flowTask({ sampler: 'flow-euler', options: { shift: 3 }, batch: 32, size: 4, steps: 5 });
  await descend(method as typeof nft, blackBox(task) as never, { group: 4, ...options }, { rounds: 20, lr: 0.05, prompts: new Array<string>(32).fill('') });
  expect(sampledMoments(task).mean).toBeGreaterThan(0.2);
}, 60_000);

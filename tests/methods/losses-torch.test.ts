/** @file The losses of the policy-gradient and preference methods, and their gradients, as PyTorch computes them. */
import { describe, expect, test } from 'vitest';
import { meanOf } from '../../src/evaluation/evaluation.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { accumulate } from '../../src/methods/backprop.js';
import { openStepPreference } from '../../src/methods/d3po.js';
import { openDenoisingLoss } from '../../src/methods/denoising-error.js';
import { openPairLoss } from '../../src/methods/dpo.js';
import { openPolicyGradient } from '../../src/methods/policy-gradient.js';
import { rank } from '../../src/methods/preference.js';
import { sharpeningLoss } from '../../src/methods/sharpen-rlhf.js';
import { openStepRewards, pickWalk } from '../../src/methods/step-rewards.js';
import { ddimStep } from '../../src/schedulers/ddim.js';
import { loadFixture, maxError } from '../models/fixture.js';
import { tinyTask } from './tiny-task.js';

const fixture = await loadFixture('method_losses');
const meta = fixture.meta as {
  prompts: string[]; steps: number[]; previous: number[]; times: number[]; clip: Record<string, number>;
  d3po: { beta: number; epsilon: number }; dpo: { beta: number };
  sharpening: { n: number; m: number; gridSteps: number; beta: number };
};
const task = await tinyTask({ batch: meta.prompts.length, parameters: fixture.part('reference.') });
for (const [name, t] of fixture.part('tuned.')) (task.parameters.get(name)!.data as Float32Array).set(t.data as Float32Array);

const get = (name: string): HostTensor => fixture.get(name);
const numbers = (name: string): Float32Array => get(name).data as Float32Array;
/** The steps of DDPO's sampler at the fixture's times. */
const transitions = meta.steps.map((t, i) => ddimStep(task.process, t, meta.previous[i]!, { eta: 1, lastStep: 'ddpo' }));
const corruption = (noise: string) => ({ steps: meta.times.map((t) => ddimStep(task.process, t, -1)), noise: get(noise) });

function expectLike(prefix: string, loss: number, gradients: ReadonlyMap<string, HostTensor>): void {
  const expected = numbers(`${prefix}loss`)[0]!;
  expect(Math.abs(loss - expected)).toBeLessThan(2e-5 * Math.max(1, Math.abs(expected)));
  for (const [name, reference] of fixture.part(`${prefix}grad.`)) {
    const largest = Math.max(...(reference.data as Float32Array).map(Math.abs));
    expect(largest).toBeGreaterThan(0);
    expect(maxError(gradients.get(name)!, reference) / largest, `gradient by ${name}`).toBeLessThan(2e-3);
  }
}

const ones = new Float32Array(meta.prompts.length).fill(1 / meta.prompts.length);

describe('losses and gradients are those of PyTorch', () => {
  test.each(['clipped', 'wide', 'score'])('DDPO, %s', async (kind) => {
    const objective = await openPolicyGradient(task, { clip: meta.clip[kind] ?? null });
    const transition = {
      indices: [], last: [], x: get('ddpo/x'), next: get('ddpo/next'), output: get('ddpo/output'), steps: transitions,
    };
    const { loss, gradients, extras } = await objective.run(transition, numbers('ddpo/advantage'), meta.prompts);
    expectLike(`ddpo/${kind}/`, loss, gradients);
    expect(maxError(extras.ratio, get('ddpo/wide/ratio'))).toBeLessThan(1e-5);
  });

  test('D3PO', async () => {
    const preference = await openStepPreference(task, meta.d3po.beta, meta.d3po.epsilon);
    const side = (name: string) => ({ x: get(`d3po/${name}/x`), next: get(`d3po/${name}/next`) });
    const { loss, gradients } = await preference.run(side('winner'), side('loser'), transitions, ones, meta.prompts);
    expectLike('d3po/', loss, gradients);
  });

  test('Diffusion-DPO', async () => {
    const pairs = await openPairLoss(task, meta.dpo.beta);
    const batch = { winners: get('dpo/winners'), losers: get('dpo/losers'), prompts: meta.prompts, weights: ones };
    const { loss, gradients, extras } = await pairs.run(batch, corruption('dpo/noise'));
    expectLike('dpo/', loss, gradients);
    expect(maxError(extras.inside, get('dpo/inside'))).toBeLessThan(1e-3);
  });

  test('the denoising loss', async () => {
    const denoising = await openDenoisingLoss(task);
    const { loss, gradients } = await denoising.run(get('denoising/clean'), corruption('denoising/noise'), meta.prompts);
    expectLike('denoising/', loss, gradients);
  });

  const { n, m, gridSteps, beta } = meta.sharpening;
  const draws = Array.from({ length: n }, (_, i) => i);

  test.each([['through', false], ['detached', true]] as const)('SFT-Sharpening, inputs %s', async (name, detach) => {
    const stepRewards = await openStepRewards(task, { m, gridSteps, detach, reference: 'none' });
    const walks = await Promise.all(draws.map((i) =>
      stepRewards.walk(get('sharpening/clean.0'), get(`sharpening/noise.${i}`), meta.times, meta.prompts, meta.prompts)));
    walks.forEach(({ reward }, i) => reward.forEach((r, b) =>
      expect(r).toBeCloseTo(numbers(`sharpening/sft_${name}/reward`)[i * ones.length + b]!, 3)));
    const chosen = pickWalk(task, walks, rank(walks.map((w) => w.reward)).best);
    expectLike(`sharpening/sft_${name}/`, meanOf(chosen.loss), await stepRewards.gradient(chosen, ones, meta.prompts));
  });

  test.each([['inside', 'every'], ['inside', 'first'], ['outside', 'every'], ['outside', 'first']] as const)(
    'RLHF-Sharpening, modulation %s, reference error at %s', async (modulation, reference) => {
      const stepRewards = await openStepRewards(task, { m, gridSteps, detach: false, reference });
      const walks = await Promise.all(draws.map((i) =>
        stepRewards.walk(get(`sharpening/clean.${i}`), get(`sharpening/noise.${i}`), meta.times, meta.prompts, meta.prompts)));
      const { best, worst, gap } = rank(walks.map((w) => w.reward));
      const [better, poorer] = [pickWalk(task, walks, best), pickWalk(task, walks, worst)];
      const { loss, slope } = sharpeningLoss(better, poorer, gap, { beta, modulation });
      const gradients = await stepRewards.gradient(better, slope, meta.prompts);
      accumulate(gradients, await stepRewards.gradient(poorer, slope.map((s) => -s), meta.prompts));
      expectLike(`sharpening/${modulation}_${reference}/`, loss, gradients);
    },
  );
});

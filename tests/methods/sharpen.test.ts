import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { drawCorruption, openDenoisingLoss } from '../../src/methods/denoising-error.js';
import { rank } from '../../src/methods/preference.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { sharpeningLoss, sharpenRlhf } from '../../src/methods/sharpen-rlhf.js';
import { sharpenSft } from '../../src/methods/sharpen-sft.js';
import { openStepRewards, pickWalk } from '../../src/methods/step-rewards.js';
import type { Walk } from '../../src/methods/step-rewards.js';
import { samplesOf } from '../../src/methods/task.js';
import type { Task } from '../../src/methods/task.js';
import { integers, normal } from '../../src/random/random.js';
import { ddimStep } from '../../src/schedulers/ddim.js';
import { blackBox } from './descend.js';
import { gaussianTask } from './gaussian-task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];

const pictures: Task['data'] = {
  pictures: async () => ({
    prompts: ['one', 'another one', 'the third'],
    samples: async (indices) => host(Float32Array.from(indices.flatMap((i) =>
      [...normal({ seed: 8, stream: 'pictures', step: 0 }, i, 12)])), [indices.length, 3, 2, 2]),
  }),
  pairs: () => Promise.reject(new Error('no pairs')),
};

function shift(task: Task, by: number): void {
  for (const [name, t] of task.parameters) {
    const noise = normal({ seed: 5, stream: name, step: 0 }, 0, t.data.length);
    (t.data as Float32Array).forEach((_, i, p) => (p[i]! += by * noise[i]!));
  }
}

const largestDifference = (a: ReadonlyMap<string, HostTensor>, b: ReadonlyMap<string, HostTensor>): number =>
  Math.max(...[...a].flatMap(([name, g]) => Array.from(g.data as Float32Array, (v, i) => Math.abs(v - (b.get(name)!.data[i] as number)))));

describe('SFT-Sharpening', () => {
  test('with n = 1 and m = 1 it is the plain denoising loss of its own samples', async () => {
    const task = await tinyTask();
    const { gradients, loss } = await firstUpdate(sharpenSft, task, { n: 1, m: 1 }, PROMPTS);
    const clean = (await (await openRollouts(task, 'tuned', 'sharpen pictures')).rollout(PROMPTS, 0)).x.at(-1)!;
    const key = { seed: task.seed, stream: 'sharpen', step: 0 };
    const steps = [...integers(key, 0, 2, 1000)].map((t) => ddimStep(task.process, t, -1));
    const plain = await (await openDenoisingLoss(task)).run(clean, { steps, noise: samplesOf(task, normal(key, 1, 24)) }, PROMPTS);
    expect(loss).toBeCloseTo(plain.loss, 5);
    expect(largestDifference(gradients, plain.gradients)).toBeLessThan(1e-5);
  });

  test('with n = 1 the gradient of the multi-step error flows through the chain of steps', async () => {
    const task = await tinyTask({ data: pictures });
    const options = { n: 1, m: 3, pictures: 'folder', emptyPrompts: 0 };
    const { gradients } = await firstUpdate(sharpenSft, task, options, PROMPTS);
    const loss = async (): Promise<number> => (await firstUpdate(sharpenSft, task, options, PROMPTS)).loss;
    expect(await directionalError(task, gradients, loss)).toBeLessThan(2e-3);
    const held = await firstUpdate(sharpenSft, task, { ...options, detach: true }, PROMPTS);
    expect(held.loss).toBeCloseTo(await loss(), 6);
    expect(largestDifference(gradients, held.gradients)).toBeGreaterThan(1e-4);
  });

  test('each prompt keeps its best trajectory; the gradient is that of the chosen ones', async () => {
    const task = await tinyTask({ data: pictures });
    const options = { pictures: 'folder' };
    const { gradients, rewards, metrics } = await firstUpdate(sharpenSft, task, options, PROMPTS);
    expect(rewards).toHaveLength(6);
    expect(metrics!['gap']).toBeGreaterThan(0);
    const loss = async (): Promise<number> => (await firstUpdate(sharpenSft, task, options, PROMPTS)).loss;
    expect(await directionalError(task, gradients, loss, 4, 5e-3)).toBeLessThan(3e-3);
  });

  test('every reward query is counted; black boxes do', async () => {
    const task = blackBox(await tinyTask());
    const key = { seed: task.seed, stream: 'sharpen', step: 0 };
    const stops = Math.min(3, 1 + Math.floor(Math.max(...integers(key, 0, 2, 1000)) / 40));
    await firstUpdate(sharpenSft, task, { n: 4 }, PROMPTS);
    expect(task.counts.rewardQueries).toBe(4 * stops * 2);
  });
});

describe('a walk', () => {
  test('is shorter where time runs out, and its mean counts its own steps only', async () => {
    const task = await tinyTask();
    const stepRewards = await openStepRewards(task, { m: 3, gridSteps: 25, detach: false, reference: 'every' });
    const [clean, noise] = [1, 2].map((item) => samplesOf(task, normal({ seed: 1, stream: 'x', step: 0 }, item, 24))) as [HostTensor, HostTensor];
    const walk = await stepRewards.walk(clean, noise, [500, 39], PROMPTS, PROMPTS);
    expect(walk.stops.map((s) => s.steps.map((step) => step?.timestep))).toEqual([[500, 39], [460, undefined], [420, undefined]]);
    const alone = await stepRewards.walk(clean, noise, [39, 39], PROMPTS, PROMPTS);
    expect(alone.stops).toHaveLength(1);
    expect(alone.loss[1]).toBe(walk.loss[1]);
    expect(alone.reward[1]).toBe(walk.reward[1]);
    // The tuned network is still the reference.
    walk.referenceLoss.forEach((e, i) => expect(e).toBeCloseTo(walk.loss[i]!, 6));
  });

  test('does not lead anywhere else than DDIM does', async () => {
    const task = await tinyTask();
    const stepRewards = await openStepRewards(task, { m: 2, gridSteps: 25, detach: false, reference: 'none' });
    const clean = samplesOf(task, normal({ seed: 1, stream: 'x', step: 0 }, 1, 24));
    const { stops } = await stepRewards.walk(clean, clean, [500, 500], PROMPTS, PROMPTS);
    const step = ddimStep(task.process, 500, 460);
    const output = (await (await openRollouts(task)).predict(stops[0]!.x, step, PROMPTS)).data as Float32Array;
    stops[1]!.x.data.forEach((v, i) =>
      expect(v).toBeCloseTo(step.meanFromX * (stops[0]!.x.data[i] as number) + step.meanFromOutput * output[i]!, 5));
  });
});

describe('RLHF-Sharpening', { timeout: 60_000 }, () => {
  /** The first update and the loss as a function of parameters, its samples held fixed. */
  async function fixedSamples(task: Task, options: Parameters<typeof sharpenRlhf.options.parse>[0]) {
    const { n, m, gridSteps, detach, reference, beta, modulation } = sharpenRlhf.options.parse(options);
    const update = await firstUpdate(sharpenRlhf, task, options, PROMPTS);
    const rollouts = await openRollouts(task);
    const samples: HostTensor[] = [];
    const noises: HostTensor[] = [];
    for (let copy = 0; copy < n; copy++) {
      const { x } = await rollouts.rollout(PROMPTS, 0, { copy });
      samples.push(x.at(-1)!);
      noises.push(x[0]!);
    }
    const stepRewards = await openStepRewards(task, { m, gridSteps, detach, reference });
    const key = { seed: task.seed, stream: 'sharpen', step: 0 };
    const times = [...integers(key, 0, 2, 1000)];
    // Neither gaps nor the reference's errors count as functions of the parameters.
    let held: { gap: Float32Array; errors: Float32Array[] } | undefined;
    const loss = async (): Promise<number> => {
      const walks: Walk[] = [];
      for (const [i, clean] of samples.entries()) {
        walks.push(await stepRewards.walk(clean, noises[i]!, times, PROMPTS, PROMPTS));
      }
      const { best, worst, gap } = rank(walks.map((w) => w.reward));
      const pair = [pickWalk(task, walks, best), pickWalk(task, walks, worst)];
      held ??= { gap, errors: pair.map((w) => w.referenceLoss) };
      const [better, poorer] = pair.map((w, i) => ({ ...w, referenceLoss: held!.errors[i]! })) as [Walk, Walk];
      return sharpeningLoss(better, poorer, held.gap, { beta, modulation }).loss;
    };
    return { update, loss };
  }

  test.each([['outside', 'every'], ['outside', 'first'], ['inside', 'every']])('%s, reference at %s: gradient of its loss', async (modulation, reference) => {
    const task = await tinyTask();
    shift(task, 0.05);
    const { update, loss } = await fixedSamples(task, { modulation, reference, beta: 5, gapScale: 1 });
    expect(update.loss).toBeCloseTo(await loss(), 5);
    expect(await directionalError(task, update.gradients, loss, 4, 5e-3)).toBeLessThan(3e-3);
  });

  test('while the model is the reference the loss is log 2 but for the gap', async () => {
    const task = await tinyTask();
    const outside = await firstUpdate(sharpenRlhf, task, { modulation: 'outside', gapScale: 1 }, PROMPTS);
    expect(outside.loss - outside.metrics!['gap']!).toBeCloseTo(Math.log(2), 3);
    const inside = await firstUpdate(sharpenRlhf, blackBox(task, () => 1), {}, PROMPTS);
    expect(inside.loss).toBeCloseTo(Math.log(2), 3);
  });

  test("the reward's size matters inside the sigmoid, not outside of it", async () => {
    const task = await tinyTask();
    const gradients = async (size: number, options: object) =>
      (await firstUpdate(sharpenRlhf, blackBox(task, (r) => size * r), { beta: 5, ...options }, PROMPTS)).gradients;
    const change = async (options: object): Promise<number> => largestDifference(await gradients(1, options), await gradients(3, options));
    expect(await change({ modulation: 'outside', gapScale: 1 })).toBe(0);
    expect(await change({ modulation: 'inside', gapScale: 10 })).toBeGreaterThan(1e-3);
    expect(await change({ modulation: 'inside', gapScale: 'deviation' })).toBeLessThan(1e-5); // normalised
  });

  test('on a Gaussian a step moves towards what is preferred at high noise and away from it at low noise', async () => {
    const batch = 256;
    const task = await gaussianTask({ steps: 5, batch, size: 4, mean: 2, eta: 0 });
    const { gradients } = await firstUpdate(sharpenRlhf, blackBox(task), { m: 1 }, new Array<string>(batch).fill(''));
    // Sample z ≈ its noise ε, so that x_t ≈ (√ā + √(1−ā))·ε and ε − ε_ref(x_t) ≈ √ā·(√ā − √(1−ā))·ε: descending the
    // error of samples with larger ε lowers b, which raises the samples, where ā < ½.
    const b = gradients.get('b')!.data as Float32Array; // entry k: times 200 (k − 1) + 1 … 200 k
    expect(b[1]).toBeLessThan(0);
    for (const entry of [3, 4, 5]) expect(b[entry]).toBeGreaterThan(0);
  });
});

test('times and noise of a round are its own', async () => {
  const task = await tinyTask();
  const [a, b] = [drawCorruption(task, 2, 's', 0), drawCorruption(task, 2, 's', 1)];
  expect(a.noise.data).not.toEqual(b.noise.data);
  expect(drawCorruption(task, 2, 's', 0)).toEqual(a);
});

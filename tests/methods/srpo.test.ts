import { expect, test } from 'vitest';
import { openRollouts } from '../../src/methods/rollout.js';
import { directAlign, srpo, throughNoise } from '../../src/methods/srpo.js';
import { samplesOf } from '../../src/methods/task.js';
import type { Task } from '../../src/methods/task.js';
import { normal } from '../../src/random/random.js';
import { ddimStep } from '../../src/schedulers/ddim.js';
import { withoutNoise } from '../../src/schedulers/step.js';
import { predictionTarget } from '../../src/schedulers/forward-process.js';
import type { NoiseLevel } from '../../src/schedulers/process.js';
import { flowTask } from './flow-task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];
const one = { better: ['plus'], worse: ['minus minus minus'] };

/** A rollouts whose network knows sample and noise. */
const knowing = (task: Task, x0: Float32Array, noise: Float32Array) => ({
  predict: async (_: unknown, steps: readonly { from: NoiseLevel }[]) =>
    samplesOf(task, predictionTarget(task.process.predictionType, steps[0]!.from, x0, noise)),
}) as unknown as Awaited<ReturnType<typeof openRollouts>>;

test('with a network that is right the sample is found again, from any level to any other', async () => {
  for (const task of [await tinyTask(), await tinyTask({ predictionType: 'v' }), await flowTask({ batch: 2, size: 12 })] as Task[]) {
    const [x0, noise] = ['x0', 'noise'].map((stream) => normal({ seed: 1, stream, step: 0 }, 0, 24)) as [Float32Array, Float32Array];
    for (const [from, to] of [[700, 600], [500, 620]] as const) {
      const step = withoutNoise(ddimStep(task.process, from, to));
      const { clean } = await directAlign(task, knowing(task, x0, noise), samplesOf(task, x0), samplesOf(task, noise), step, PROMPTS);
      (clean.data as Float32Array).forEach((v, i) => expect(v).toBeCloseTo(x0[i]!, 4));
    }
  }
});

test('the way back through the noise changes its sign with the direction (flow.md D15)', async () => {
  const { process } = await flowTask({});
  for (const [a, b] of [[0.7, 0.6], [0.5, 0.6]] as const) {
    expect(throughNoise(withoutNoise(ddimStep(process, 1000 * a, 1000 * b)))).toBeCloseTo((b - a) / (1 - b), 6);
  }
});

test.each([['both branches', {}], ['without the inverse', { inverse: false }], ['below the threshold', { threshold: 2 }]])('the gradient is that of the loss: %s', async (_, options) => {
  // Without sampling steps the finished sample is the noise itself, whatever the parameters.
  const tiny = await tinyTask();
  const task = { ...tiny, plan: { ...tiny.plan, steps: [] } };
  const objective = async (): Promise<number> => (await firstUpdate(srpo, task, { ...one, ...options }, PROMPTS, 2)).loss;
  const { gradients, loss } = await firstUpdate(srpo, task, { ...one, ...options }, PROMPTS, 2);
  expect(Math.abs(loss)).toBeGreaterThan(0.1);
  expect(await directionalError(task, gradients, objective, 4, 5e-3)).toBeLessThan(5e-3);
});

test('the wording makes the difference: with the same words and κ = 0 nothing is learnt', async () => {
  const task = await tinyTask();
  const { gradients, loss } = await firstUpdate(srpo, task, { better: ['same'], worse: ['same'], kappa: [0, 0], kappaInverse: [0, 0] }, PROMPTS);
  expect(Math.abs(loss)).toBeLessThan(1e-5);
  for (const { data } of gradients.values()) for (const g of data as Float32Array) expect(Math.abs(g)).toBeLessThan(1e-5);
  expect(task.counts.rewardQueries).toBe(8); // two wordings of two prompts, in two branches
});

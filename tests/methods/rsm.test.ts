import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { METHODS } from '../../src/methods/index.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { openMatching, rsm } from '../../src/methods/rsm.js';
import { samplesOf } from '../../src/methods/task.js';
import { transitionAt } from '../../src/methods/transitions.js';
import { normal } from '../../src/random/random.js';
import type { Plan } from '../../src/schedulers/plan.js';
import { stepFeed } from '../../src/schedulers/step.js';
import { flowTask, sampledMoments } from './flow-task.js';
import { optimise } from './gaussian-balance.js';
import { affineStep, finalMoments, gaussianTask, tunedMoments } from './gaussian-task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const M = 2;

/** Where RSM ends: ∇r at the end of the trajectory, E[m − z0 | x] with z0 = P·x' + Q by the steps that follow. */
function finalGuess({ steps }: Plan, beta: number): { mean: number; variance: number } {
  let [P, Q] = [1, 0];
  return finalMoments([...steps].toReversed().map((step) => {
    const { A, std } = affineStep(step, 0, 0);
    const scale = 1 + std ** 2 * beta * P;
    const solved = { A: A / scale, B: (std ** 2 * beta * (M - Q)) / scale, std };
    [P, Q] = [P * solved.A, P * solved.B + Q];
    return solved;
  }).toReversed());
}

test('on the Gaussian oracle it lands on its closed form', async () => {
  const task = await gaussianTask({ batch: 16, size: 64, steps: 20 });
  await optimise(task, await rsm.create(task, rsm.options.parse({ beta: 1, trust: 0, fraction: 1 })), 80, 0.04);
  const [found, goal] = [tunedMoments(task), finalGuess(task.plan, 1)];
  for (const moment of ['mean', 'variance'] as const) {
    expect(Math.abs(found[moment] - goal[moment]) / Math.max(1, goal[moment]), `${moment} ${found[moment]}`).toBeLessThan(0.02);
  }
}, 60_000);

test('a flow: with r = Σ x every score is shifted by the same β, whatever the step', async () => {
  const task = await flowTask({ options: { shift: 3, eta: 1 }, linear: true, size: 64 });
  await optimise(task as never, await rsm.create(task, rsm.options.parse({ beta: 1, trust: 0, fraction: 1 })), 150, 0.4);
  // Each step's mean moves by std²·β, and is scaled by the steps after it.
  const untrained = await flowTask({ options: { shift: 3, eta: 1 }, linear: true });
  let goal = 0;
  for (const { from: { signal, noise }, meanFromX, meanFromOutput, std } of untrained.plan.steps) {
    goal = (meanFromX + (meanFromOutput * (noise - signal / 4)) / (signal ** 2 / 4 + noise ** 2)) * goal + std ** 2;
  }
  expect(Math.abs(sampledMoments(task).mean / goal - 1), `${sampledMoments(task).mean} for ${goal}`).toBeLessThan(0.02);
}, 60_000);

describe('on a small network', () => {
  const prompts = ['a cat', 'a much longer prompt'];
  const tiny = () => tinyTask({ eta: 1, lastStep: 'ddpo' });

  test('the gradient is that of the loss', async () => {
    const task = await tiny();
    const t = transitionAt(task, await (await openRollouts(task)).rollout(prompts, 0), [1, 2]);
    const shift = samplesOf(task, normal({ seed: 5, stream: 'shift', step: 0 }, 0, 24));
    for (const [name, p] of task.parameters) (p.data as Float32Array).forEach((v, i, a) => (a[i] = v + 0.05 * normal({ seed: 6, stream: name, step: 0 }, 0, i + 1)[i]!));
    const loss = await openMatching(task, 1);
    const run = () => loss.run({ x: t.x, next: t.next, output: t.output, shift, step: stepFeed(t.steps) }, prompts);
    const { gradients, extras } = await run();
    expect(await directionalError(task, gradients, async () => (await run()).loss, 4, 5e-3)).toBeLessThan(5e-3);
    expect(extras['trust']!.data[0]).toBeGreaterThan(0);
  });

  test('at the start the residual is σ·β∇r of the finished samples, scored once, and the pull to the sampler nothing', async () => {
    const task = await tiny();
    const { metrics } = await firstUpdate(rsm, task, { beta: 3, fraction: 1 }, prompts);
    expect(task.counts.rewardQueries).toBe(task.batch);
    // The rollout, and twice each transition.
    expect(task.counts.denoiserCalls).toBe(task.batch * (4 + 2 * 4));
    const trajectory = await (await openRollouts(task)).rollout(prompts, 0);
    const g = (await task.reward.gradient(trajectory.x.at(-1)!, prompts)).gradient as HostTensor;
    const square = (g.data as Float32Array).reduce((s, v) => s + v * v, 0) / g.data.length;
    const variance = task.plan.steps.reduce((sum, { std }) => sum + std ** 2, 0) / 4;
    expect(metrics!['matching']! / (9 * square * variance)).toBeCloseTo(1, 4);
    expect(metrics!['trust']).toBeLessThan(1e-12);
  });

  test('it is a method of its own name', () => {
    expect(METHODS.map((m) => m.name)).toContain('rsm');
    expect(rsm.options.parse({})).toMatchObject({ beta: 5e5, trust: 100, fraction: 0.2 });
  });
});

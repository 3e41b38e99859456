import { describe, expect, test } from 'vitest';
import { adjointMatching, lessonOf, openOutputMatching } from '../../src/methods/adjoint-matching.js';
import { openCarriedScores } from '../../src/methods/carried-scores.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { samplesOf } from '../../src/methods/task.js';
import { pick } from '../../src/methods/transitions.js';
import { normal } from '../../src/random/random.js';
import { flowTask, sampledMoments, VARIANCE } from './flow-task.js';
import { optimise } from './gaussian-balance.js';
import { affineStep, finalMoments, gaussianTask, tunedMoments } from './gaussian-task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const all = { lambda: 1, trained: 100, quantile: 1 };

describe('a flow with data N(0, 1/4) and r = Σ x, whose tilt moves the mean by 1/4', () => {
  const task = () => flowTask({ options: { shift: 3, eta: 1 }, linear: true, size: 64 });

  test('the adjoint is the gradient of the value at every step, however few (flow.md B3)', async () => {
    const { plan, ...rest } = await task();
    const trajectory = await (await openRollouts({ plan, ...rest })).rollout(new Array<string>(16).fill(''), 0);
    const { gradient } = await rest.reward.gradient(trajectory.x.at(-1)!, trajectory.prompts);
    const values = await (await openCarriedScores({ plan, ...rest })).carry(trajectory, gradient, 0);
    for (const [k, { from: { signal, noise } }] of plan.steps.entries()) {
      const expected = (signal * VARIANCE) / (signal ** 2 * VARIANCE + noise ** 2);
      for (const v of values[k]!.data as Float32Array) expect(v).toBeCloseTo(expected, 5);
    }
  });

  // The forms match different things where steps are few: the data's variance, 0.25, and the chain's own, 0.1019.
  test.each([['score', 0.25], ['transition', 0.0552], ['next', 0.1019]] as const)('matching the %s moves it by %f', async (form, shift) => {
    const flow = await task();
    const before = sampledMoments(flow).variance;
    await optimise(flow as never, await adjointMatching.create(flow, adjointMatching.options.parse({ ...all, form })), 80, 0.2);
    const { mean, variance } = sampledMoments(flow);
    expect(Math.abs(mean - shift), `mean ${mean}`).toBeLessThan(0.003);
    expect(Math.abs(variance - before), `variance ${variance}`).toBeLessThan(0.003);
  }, 60_000);
});

test('noise prediction: a quadratic reward ends where every step\'s score is that of the value under the steps after it', async () => {
  const task = await gaussianTask({ batch: 16, size: 64, steps: 10 });
  // G = J·(2 − x_S) with J = ∏ of the base's slopes and E[x_S | x] = P·x' + Q by the tuned steps that follow.
  let [P, Q, J] = [1, 0, 1];
  const goal = finalMoments([...task.plan.steps].toReversed().map((step) => {
    const { A, std } = affineStep(step, 0, 0);
    J *= A;
    const pull = -step.meanFromOutput * step.from.noise * J;
    const solved = { A: A / (1 + pull * P), B: (pull * (2 - Q)) / (1 + pull * P), std };
    [P, Q] = [P * solved.A, P * solved.B + Q];
    return solved;
  }).toReversed());
  await optimise(task, await adjointMatching.create(task, adjointMatching.options.parse(all)), 100, 0.1);
  const found = tunedMoments(task);
  expect(Math.abs(found.mean - goal.mean), `${found.mean} for ${goal.mean}`).toBeLessThan(0.01);
  expect(Math.abs(found.variance - goal.variance), `${found.variance} for ${goal.variance}`).toBeLessThan(0.01);
  expect(goal.mean).toBeCloseTo(1, 1); // the tilt: N(1, 1/2), but for what ten steps take from the variance
}, 60_000);

test('a shift of the output means the same shift of x̂0, whatever the model predicts', async () => {
  const shifts = [];
  for (const predictionType of ['epsilon', 'v', 'sample'] as const) {
    const { plan, process } = await tinyTask({ eta: 1, predictionType });
    const { shift, weight } = lessonOf('score', process, plan.steps[1]!);
    shifts.push([plan.steps[1]!.x0FromOutput * shift, Math.abs(shift * weight)]);
  }
  for (const [x0, weighed] of shifts) {
    expect(x0).toBeCloseTo(shifts[0]![0]!, 6);
    expect(weighed).toBeCloseTo(shifts[0]![1]!, 6);
  }
});

describe('on a small network', () => {
  const prompts = ['a cat', 'a much longer prompt'];

  test('the gradient is that of the loss, and samples above the limit teach nothing', async () => {
    const task = await tinyTask({ eta: 1 });
    const trajectory = await (await openRollouts(task)).rollout(prompts, 0);
    for (const [name, p] of task.parameters) (p.data as Float32Array).forEach((v, i, a) => (a[i] = v + 0.05 * normal({ seed: 6, stream: name, step: 0 }, 0, i + 1)[i]!));
    const shift = samplesOf(task, normal({ seed: 5, stream: 'shift', step: 0 }, 0, 24));
    const loss = await openOutputMatching(task);
    const run = (limit: number) =>
      loss.run(pick(task, trajectory.x, [1, 2]), [1, 2].map((i) => trajectory.steps[i]!), shift, [0.5, 2], limit, prompts);
    const { gradients, errors } = await run(Infinity);
    expect(await directionalError(task, gradients, async () => (await run(Infinity)).loss, 4, 5e-3)).toBeLessThan(5e-3);
    const between = (errors[0]! + errors[1]!) / 2;
    const smaller = Math.min(...errors);
    expect((await run(between)).loss).toBeCloseTo(smaller ** 2 / 2, 5);
    expect((await run(smaller / 2)).loss).toBe(0);
  });

  test('costs: a rollout, the adjoint of every step, twice each trained step; the reward once', async () => {
    const task = await tinyTask({ eta: 1 });
    const { metrics } = await firstUpdate(adjointMatching, task, { trained: 2 }, prompts);
    expect(task.counts).toEqual({ rewardQueries: 2, denoiserCalls: 2 * (4 + 4 + 2 * 2) });
    expect(metrics!['kept']).toBe(1);
  });

  test('the limit is the quantile of late errors', async () => {
    const task = await tinyTask({ eta: 1, batch: 8 });
    const method = await adjointMatching.create(task, adjointMatching.options.parse({ lambda: 1, quantile: 0.5 }));
    const eight = Array.from({ length: 8 }, (_, i) => 'x'.repeat(i));
    const kept: number[] = [];
    for (let round = 0; round < 3; round++) for await (const { metrics } of method.round(eight, round)) kept.push(metrics!['kept']!);
    expect(kept[0]).toBe(1);
    for (const share of kept.slice(1)) expect(share).toBeGreaterThan(0.2);
    for (const share of kept.slice(1)) expect(share).toBeLessThan(0.8);
    expect(method.memory!.get('limit')!.data).toHaveLength(1);
  });
});

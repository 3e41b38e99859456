import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { relu } from '../../src/graph/ops/activation.js';
import { neg, sub } from '../../src/graph/ops/arithmetic.js';
import { openBackprop } from '../../src/methods/backprop.js';
import { perItem } from '../../src/methods/reward-loss.js';
import { openRewardedCall } from '../../src/methods/rewarded-call.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { samplesOf } from '../../src/methods/task.js';
import type { Task } from '../../src/methods/task.js';
import { combine } from '../../src/schedulers/linear.js';
import type { Step } from '../../src/schedulers/plan.js';
import { takeStep, toX0 } from '../../src/schedulers/step.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];
const AT = 2;

const numbers = (t: HostTensor): Float32Array => t.data as Float32Array;

function expectClose(actual: HostTensor, expected: HostTensor): void {
  expect(actual.shape).toEqual(expected.shape);
  numbers(expected).forEach((v, i) => expect(numbers(actual)[i]).toBeCloseTo(v, 4));
}

/** The same with prediction, reward and backward pass each on its own. */
async function separately(task: Task, step: Step, x: HostTensor, noise: HostTensor | undefined, ceiling: number | null) {
  const [rollouts, backprop] = [await openRollouts(task), await openBackprop(task)];
  const output = await rollouts.predict(x, step, PROMPTS);
  const sample = samplesOf(task, takeStep(step, numbers(x), numbers(output), noise ? { noise: numbers(noise) } : {}));
  const { score, gradient } = await task.reward.gradient(sample, PROMPTS);
  const bySample = perItem(task, gradient, (i) => (ceiling === null || score[i]! < ceiling ? -1 / PROMPTS.length : 0));
  const pulled = await backprop.network(x, step, samplesOf(task, combine([step.meanFromOutput, numbers(bySample)])), PROMPTS);
  const byX = samplesOf(task, combine([step.meanFromX, numbers(bySample)], [1, numbers(pulled.x)]));
  const losses = Array.from(score, (r) => (ceiling === null ? -r : Math.max(0, ceiling - r)));
  return { sample, score, loss: (losses[0]! + losses[1]!) / 2, gradients: pulled.parameters, byX };
}

describe('a rewarded call', () => {
  for (const of of ['the next sample', 'the clean prediction'] as const) {
    for (const ceiling of [null, -5]) {
      test(`of ${of}, ${ceiling === null ? 'without a ceiling' : 'with a ceiling between the scores'}, is prediction, reward and backward pass`, async () => {
        const task = await tinyTask({ steps: 4, eta: 1 });
        const rollouts = await openRollouts(task);
        const { x: way } = await rollouts.rollout(PROMPTS, 0, { stop: AT + 1 });
        const [x, next] = [way[AT]!, way[AT + 1]!];
        const taken = task.plan.steps[AT]!;
        expect(taken.std).toBeGreaterThan(0);
        const [step, noise] = of === 'the next sample' ? [taken, rollouts.noise(PROMPTS, 0, AT)] : [toX0(taken), undefined];
        const expected = await separately(task, step, x, noise, ceiling);
        for (const byX of [false, true]) {
          const call = await openRewardedCall(task, { loss: (score) => (ceiling === null ? neg(score) : relu(sub(ceiling, score))), byX });
          const result = await call.run(x, step, PROMPTS, noise);
          expectClose(result.sample, expected.sample);
          if (noise) expectClose(result.sample, next); // the very noise of the rollout
          result.score.forEach((r, i) => expect(r).toBeCloseTo(expected.score[i]!, 4));
          expect(result.loss).toBeCloseTo(expected.loss, 4);
          expect([...result.gradients.keys()]).toEqual([...task.parameters.keys()]);
          for (const [name, g] of result.gradients) expectClose(g, expected.gradients.get(name)!);
          if (byX) expectClose(result.byX!, expected.byX);
          else expect(result.byX).toBeNull();
        }
      });
    }
  }

  test('is counted as one reward query and one network call for each sample', async () => {
    const task = await tinyTask();
    const call = await openRewardedCall(task);
    const x = samplesOf(task, new Float32Array(24));
    await call.run(x, toX0(task.plan.steps[0]!), PROMPTS);
    expect(task.counts).toEqual({ rewardQueries: 2, denoiserCalls: 2 });
  });

  test('fails without the noise that its step needs, and with a score that is not a number', async () => {
    const task = await tinyTask({ eta: 1 });
    const call = await openRewardedCall(task);
    const x = samplesOf(task, new Float32Array(24));
    await expect(call.run(x, task.plan.steps[0]!, PROMPTS)).rejects.toThrow(/needs noise/);
    const bad = samplesOf(task, new Float32Array(24).fill(NaN));
    await expect(call.run(bad, toX0(task.plan.steps[0]!), PROMPTS)).rejects.toThrow(/NaN/);
  });
});

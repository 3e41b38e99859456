import { expect, test } from 'vitest';
import { flowbpSparse, lateSteps } from '../../src/methods/flowbp-sparse.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { samplesOf } from '../../src/methods/task.js';
import { uniform } from '../../src/random/random.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];

test('steps are drawn without repetition, late ones more often', () => {
  const counts = new Array<number>(5).fill(0);
  for (let i = 0; i < 1000; i++) {
    const steps = lateSteps(5, 1, 2, uniform({ seed: 1, stream: 'steps', step: i }, 0, 5));
    expect(steps).toHaveLength(1);
    counts[steps[0]!]! += 1;
  }
  counts.forEach((n, i) => expect(Math.abs(n / 1000 - (i + 1) ** 2 / 55), `step ${i}: ${n}`).toBeLessThan(0.05));
  expect(lateSteps(3, 4, 2, [0.5, 0.1, 0.9])).toEqual([0, 1, 2]);
});

test('the gradient is that of the sample\'s line through the chosen outputs', async () => {
  const task = await tinyTask({ steps: 4 });
  const { gradients, loss } = await firstUpdate(flowbpSparse, task, { k: 2 }, PROMPTS, 3);
  const chosen = lateSteps(4, 2, 2, uniform({ seed: 1, stream: 'flowbp-sparse', step: 3 }, 0, 4));
  const rollouts = await openRollouts(task);
  const { x, outputs, steps } = await rollouts.rollout(PROMPTS, 3);
  const objective = async (): Promise<number> => {
    const end = (x.at(-1)!.data as Float32Array).slice();
    for (const i of chosen) {
      const now = (await rollouts.predict(x[i]!, steps[i]!, PROMPTS)).data as Float32Array;
      const share = steps.slice(i + 1).reduce((c, step) => c * step.meanFromX, steps[i]!.meanFromOutput);
      now.forEach((v, k) => (end[k]! += share * (v - Number(outputs[i]!.data[k]))));
    }
    return -(await task.reward.score(samplesOf(task, end), PROMPTS)).reduce((s, r) => s + r, 0) / 2;
  };
  expect(loss).toBeCloseTo(await objective(), 5);
  expect(await directionalError(task, gradients, objective, 4, 5e-3)).toBeLessThan(5e-3);
});

test('above the ceiling nothing is learnt', async () => {
  const { gradients, loss } = await firstUpdate(flowbpSparse, await tinyTask(), { ceiling: -1e6 }, PROMPTS);
  expect(loss).toBe(0);
  for (const { data } of gradients.values()) expect(Math.max(...(data as Float32Array).map(Math.abs))).toBe(0);
});

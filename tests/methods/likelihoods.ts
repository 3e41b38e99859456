/** @file Log-probabilities of stored trajectories under the parameters of now, on the host. */
import { openRollouts } from '../../src/methods/rollout.js';
import type { Trajectory } from '../../src/methods/rollout.js';
import { sampleSize } from '../../src/methods/task.js';
import type { Task } from '../../src/methods/task.js';
import { transitionMean } from '../../src/schedulers/step.js';

/** For each step of a trajectory the log-probability of each item's transition, averaged over its elements. */
export async function openLikelihoods(task: Task): Promise<(trajectory: Trajectory) => Promise<number[][]>> {
  const rollouts = await openRollouts(task);
  const size = sampleSize(task);
  return async ({ x, steps, prompts }) => Promise.all(steps.map(async (step, i) => {
    const output = (await rollouts.predict(x[i]!, step, prompts)).data as Float32Array;
    const mean = transitionMean(step, x[i]!.data as Float32Array, output);
    const next = x[i + 1]!.data as Float32Array;
    return prompts.map((_, b) => {
      let total = 0;
      for (let k = b * size; k < (b + 1) * size; k++) total -= (next[k]! - mean[k]!) ** 2 / (2 * step.std ** 2);
      return total / size - Math.log(step.std) - 0.5 * Math.log(2 * Math.PI);
    });
  }));
}

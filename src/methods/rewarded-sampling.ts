/** @file Sampling that ends in a reward, whose gradient comes back through the steps from a given one on. */
import type { Tensor } from '../graph/tensor.js';
import { accumulate, openBackprop, throughSteps } from './backprop.js';
import { openRewardedCall } from './rewarded-call.js';
import type { Rewarded } from './rewarded-call.js';
import { openRollouts } from './rollout.js';
import type { Task } from './task.js';

export interface RewardedSampling {
  /** Samples, and pulls the loss back through step `from` and all after it; before it the sample is held fixed. */
  run(prompts: readonly string[], round: number, from: number): Promise<Rewarded>;
  release(): Promise<void>;
}

/**
 * Compiles truncated back-propagation through sampling.
 *
 * @param earliest no `from` will be less; if it is the last step, nothing is compiled for those before
 * @param loss from scores [B] to losses [B]; −r by default
 */
export async function openRewardedSampling(task: Task, earliest: number, loss?: (score: Tensor) => Tensor): Promise<RewardedSampling> {
  const last = task.plan.steps.length - 1;
  const rollouts = await openRollouts(task);
  const end = await openRewardedCall(task, { loss, byX: earliest < last });
  const backprop = earliest < last ? await openBackprop(task) : null;
  return {
    async run(prompts, round, from) {
      const trajectory = await rollouts.rollout(prompts, round, { stop: last });
      const rewarded = await end.run(trajectory.x.at(-1)!, task.plan.steps[last]!, prompts, rollouts.noise(prompts, round, last));
      if (backprop) {
        const trained = (i: number): boolean => i >= from;
        accumulate(rewarded.gradients, await throughSteps(task, backprop, trajectory, rewarded.byX!, { trained, jacobian: true }));
      }
      return rewarded;
    },
    async release() {
      await rollouts.release();
      await end.release();
      await backprop?.release();
    },
  };
}

/** @file DRTune: gradient along the sampler's own line only, with a few trained steps and a random early stop. */
import { z } from 'zod';
import { integers } from '../random/random.js';
import { combine } from '../schedulers/linear.js';
import { accumulate, openBackprop, throughSteps } from './backprop.js';
import type { Method } from './method.js';
import { rewardLoss } from './reward-loss.js';
import { x0Sample, openRollouts } from './rollout.js';
import { samplesOf } from './task.js';

const options = z.strictObject({
  k: z.int().positive().default(3)
    .describe('Network calls that carry gradient, evenly spaced (drtune.py:20-49).'),
  earlyStop: z.number().min(0).max(1).default(0.4)
    .describe('Sampling stops up to this share of the steps early; x̂0 there is what is rewarded (drtune.py:52-73).'),
  ceiling: z.number().nullable().default(null)
    .describe('The loss is relu(ceiling − r); `null` is −r. 0.55 for HPSv2.1 in the published configuration.'),
});

/** `k` indices below `length`, evenly spaced from a random start; all if there are not more. */
export function trainedSteps(length: number, k: number, draw: (bound: number) => number): number[] {
  if (k >= length) return Array.from({ length }, (_, i) => i);
  const stride = Math.max(1, Math.floor(length / k));
  const start = draw(length - (k - 1) * stride);
  return Array.from({ length: k }, (_, i) => start + i * stride);
}

/**
 * x_{i+1} = aᵢ x_i + bᵢ ε_θ(sg(x_i)): the network's input is detached at every step, so ∂x_{i+1}/∂x_i = aᵢ and nothing
 * explodes (Wu et al. 2024, eq. 7).
 */
export const drtune: Method<z.infer<typeof options>> = {
  name: 'drtune',
  summary: 'gradient along the sampler only, never through the network\'s input; a few steps, random early stop',
  paper: 'Wu et al. 2024, Deep Reward Supervisions for Tuning Text-to-Image Diffusion Models, arXiv 2405.00760',
  options,
  needs: { differentiableReward: true, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, { k, earlyStop, ceiling }) {
    const rollouts = await openRollouts(task);
    const backprop = await openBackprop(task, { jacobian: false });
    const count = task.plan.steps.length;
    return {
      async *round(prompts, round) {
        const draws = (item: number, bound: number): number =>
          integers({ seed: task.seed, stream: 'drtune', step: round }, item, 1, bound)[0]!;
        const most = Math.min(count - 1, Math.round(earlyStop * count));
        const stop = most === 0 ? count - 1 : count - 1 - draws(0, most); // index of the step whose x̂0 is rewarded
        const trained = new Set(trainedSteps(stop + 1, k, (bound) => draws(1, bound)));
        const trajectory = await rollouts.rollout(prompts, round, { stop });
        const step = task.plan.steps[stop]!;
        const x = trajectory.x.at(-1)!;
        const clean = x0Sample(task, step, x, await rollouts.predict(x, step, prompts));
        const scored = await task.reward.gradient(clean, prompts);
        const { loss, gradient } = rewardLoss(task, scored, ceiling);
        const g = gradient.data as Float32Array;
        // x̂0 = x0FromX · x_stop + x0FromOutput · ε_θ(sg(x_stop))
        const alongX = samplesOf(task, combine([step.x0FromX, g]));
        const gradients = await throughSteps(task, backprop, trajectory, alongX, { trained: (i) => trained.has(i), jacobian: false });
        if (trained.has(stop)) {
          const cotangent = samplesOf(task, combine([step.x0FromOutput, g]));
          accumulate(gradients, (await backprop.network(x, step, cotangent, prompts)).parameters);
        }
        yield { gradients, loss, rewards: scored.score, metrics: { stop } };
      },
      async release() {
        await rollouts.release();
        await backprop.release();
      },
    };
  },
};

/** @file FlowBP-sparse: a few network calls of a whole trajectory carry gradient to its end, along the sampler's own line. */
import { z } from 'zod';
import { uniform } from '../random/random.js';
import { openBackprop, throughSteps } from './backprop.js';
import type { Method } from './method.js';
import { rewardLoss } from './reward-loss.js';
import { openRollouts } from './rollout.js';

const options = z.strictObject({
  k: z.int().positive().default(4)
    .describe('Network calls that carry gradient (flowbp/configs: 4 of 25).'),
  late: z.number().nonnegative().default(2)
    .describe('How much likelier late steps are to be among them: step i of S by weight (i/S)^late; 0 for all alike.'),
  ceiling: z.number().nullable().default(null)
    .describe('The loss is relu(ceiling − r); `null` is −r. 0.55 for HPSv2.1 in the published configuration.'),
});

/** `k` of `length` steps without repetition, step i drawn by weight ((i + 1)/length)^late (Efraimidis & Spirakis 2006). */
export function lateSteps(length: number, k: number, late: number, draws: ArrayLike<number>): number[] {
  const keys = Array.from({ length }, (_, i) => Math.log(1 - draws[i]!) / ((i + 1) / length) ** late);
  return keys.map((_, i) => i).sort((a, b) => keys[b]! - keys[a]!).slice(0, k).sort((a, b) => a - b);
}

/**
 * Samples without gradient, then x_S + Σ_{i chosen} cᵢ·(ε_θ(x_i) − sg ε_θ(x_i)) with the share cᵢ of step i's output in the
 * finished sample, when later steps are taken for what the sampler makes of x alone: cᵢ = h_i for the Euler steps of a
 * flow. DRTune without its early stop and its leap to x̂0: what is rewarded is the sample that users will see.
 */
export const flowbpSparse: Method<z.infer<typeof options>> = {
  name: 'flowbp-sparse',
  summary: 'gradient along the sampler only, from the finished sample to a few steps, mostly late ones',
  paper: 'FlowBP, github.com/RuoyuWang-2077/FlowBP (2026), its sparse variant',
  options,
  needs: { differentiableReward: true, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, { k, late, ceiling }) {
    const rollouts = await openRollouts(task);
    const backprop = await openBackprop(task, { jacobian: false });
    const count = task.plan.steps.length;
    return {
      async *round(prompts, round) {
        const draws = uniform({ seed: task.seed, stream: 'flowbp-sparse', step: round }, 0, count);
        const chosen = new Set(lateSteps(count, k, late, draws));
        const trajectory = await rollouts.rollout(prompts, round);
        const scored = await task.reward.gradient(trajectory.x.at(-1)!, prompts);
        const { loss, gradient } = rewardLoss(task, scored, ceiling);
        const gradients = await throughSteps(task, backprop, trajectory, gradient, { trained: (i) => chosen.has(i), jacobian: false });
        yield { gradients, loss, rewards: scored.score, metrics: { first: Math.min(...chosen) } };
      },
      async release() {
        await rollouts.release();
        await backprop.release();
      },
    };
  },
};

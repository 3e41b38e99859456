/** @file DRaFT-LV: DRaFT-1 with less variance, from several re-noised copies of each sample. */
import { z } from 'zod';
import { normal } from '../random/random.js';
import { addNoise } from '../schedulers/forward-process.js';
import { toX0 } from '../schedulers/step.js';
import { meanOfParts } from './loss-graph.js';
import type { Method } from './method.js';
import { openRewardedCall } from './rewarded-call.js';
import { openRollouts } from './rollout.js';
import { sampleSize, samplesOf } from './task.js';

const options = z.strictObject({
  n: z.int().positive().default(2)
    .describe('Re-noised copies of each sample; 2 in the paper (§3.2).'),
  ownGradient: z.boolean().default(true)
    .describe('Also use the sample\'s own gradient, as Algorithm 1 does (g starts as ∇r(x_0)).'),
});

/**
 * Algorithm 1 with LV: x_1⁽ⁱ⁾ = α_1·sg(x_0) + σ_1·εᵢ, g += ∇_θ r((x_1⁽ⁱ⁾ − σ_1 ε_θ(x_1⁽ⁱ⁾)) / α_1). The loss is the mean
 * over samples and copies, so that n does not change the size of a step (the paper sums; Adam is indifferent to that).
 * "Step 1" is the plan's last step: t = 1 with Stable Diffusion's spacing.
 */
export const draftLv: Method<z.infer<typeof options>> = {
  name: 'draft-lv',
  summary: 'DRaFT-1 averaged over n re-noised copies of each sample: less variance for the same sampling',
  paper: 'Clark et al. 2024, Directly Fine-Tuning Diffusion Models on Differentiable Rewards, arXiv 2309.17400, §3.2',
  options,
  needs: { differentiableReward: true, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, { n, ownGradient }) {
    const rollouts = await openRollouts(task);
    const call = await openRewardedCall(task);
    const last = task.plan.steps.length - 1;
    const step = task.plan.steps[last]!;
    return {
      async *round(prompts, round) {
        const parts = meanOfParts();
        const { x: way } = await rollouts.rollout(prompts, round, { stop: ownGradient ? last : last + 1 });
        const own = ownGradient ? await call.run(way.at(-1)!, step, prompts, rollouts.noise(prompts, round, last)) : null;
        if (own) parts.add(own);
        const sample = own?.sample ?? way.at(-1)!;
        const rewards = own?.score ?? (await task.reward.score(sample, prompts));
        for (let i = 0; i < n; i++) {
          const key = { seed: task.seed, stream: 'draft-lv', step: round };
          const noise = normal(key, i, prompts.length * sampleSize(task));
          const x = samplesOf(task, addNoise(step.from, sample.data as Float32Array, noise));
          parts.add(await call.run(x, toX0(step), prompts));
        }
        yield { ...parts.mean(), rewards };
      },
      async release() {
        await rollouts.release();
        await call.release();
      },
    };
  },
};

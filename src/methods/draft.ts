/** @file DRaFT and DRaFT-K: ascend the reward by back-propagating it through sampling. */
import { z } from 'zod';
import type { Method } from './method.js';
import { openRewardedSampling } from './rewarded-sampling.js';

const options = z.strictObject({
  k: z.union([z.literal('all'), z.int().positive()]).default(1)
    .describe('Last steps that carry gradient: `all` is DRaFT, a number DRaFT-K. The paper\'s best trade-off is 1 (§5.2).'),
});

/**
 * J(θ) = E[r(sample(θ, c, x_T), c)] (eq. 2); the sample is detached before its last K steps (§3.1). The loss is −mean r.
 * Sampling is DDIM with η = 0, as in the paper.
 */
export const draft: Method<z.infer<typeof options>> = {
  name: 'draft',
  summary: 'back-propagates the reward through the last K sampling steps (or all)',
  paper: 'Clark et al. 2024, Directly Fine-Tuning Diffusion Models on Differentiable Rewards, arXiv 2309.17400',
  options,
  needs: { differentiableReward: true, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, { k }) {
    const from = k === 'all' ? 0 : Math.max(0, task.plan.steps.length - k);
    const sampling = await openRewardedSampling(task, from);
    return {
      async *round(prompts, round) {
        const { gradients, loss, score } = await sampling.run(prompts, round, from);
        yield { gradients, loss, rewards: score };
      },
      release: () => sampling.release(),
    };
  },
};

/** @file AlignProp: DRaFT's gradient with a truncation point drawn anew for each batch. */
import { z } from 'zod';
import { abs, mul, neg, sub } from '../graph/ops/arithmetic.js';
import type { Tensor } from '../graph/tensor.js';
import { integers, normal } from '../random/random.js';
import type { Method } from './method.js';
import { openRewardedSampling } from './rewarded-sampling.js';
import type { Task } from './task.js';

const options = z.strictObject({
  truncation: z.enum(['gaussian', 'uniform', 'fixed']).default('gaussian')
    .describe('How the first step with gradient is drawn (sd_pipeline.py:124-132).'),
  mean: z.number().min(0).max(1).default(0.84)
    .describe('`gaussian`: mean and deviation as shares of the number of steps; 42 and 5 of 50.'),
  deviation: z.number().positive().default(0.1)
    .describe('The deviation, with `gaussian`.'),
  target: z.number().nullable().default(null)
    .describe('The loss is |target − r| · scale; 10 for the aesthetic score, and 0.01 (alignprop_config.py). `null` is −r.'),
  scale: z.number().positive().default(1)
    .describe('The factor, with a target.'),
});

/** Index of the first step that carries gradient in a round. */
export function truncationPoint(
  { truncation, mean, deviation }: z.infer<typeof options>, { seed, plan }: Pick<Task, 'seed' | 'plan'>, round: number,
): number {
  const count = plan.steps.length;
  const key = { seed, stream: 'alignprop', step: round };
  if (truncation === 'fixed') return count - 1;
  if (truncation === 'uniform') return integers(key, 0, 1, count)[0]!;
  // Rejected until it lies inside, as in the published code; rounding down keeps the last step.
  const inside = normal(key, 0, 1024).find((z) => {
    const b = (mean + deviation * z) * count;
    return b >= Math.min(1, count - 1) && b < count;
  });
  return inside === undefined ? count - 1 : Math.floor((mean + deviation * inside) * count);
}

/**
 * Truncated back-propagation through time with a random truncation point b; network calls before b carry no gradient
 * (Prabhudesai et al. 2023, §3.2). DDIM with η = 1, re-parameterised.
 */
export const alignprop: Method<z.infer<typeof options>> = {
  name: 'alignprop',
  summary: 'back-propagates the reward through sampling from a random step on',
  paper: 'Prabhudesai et al. 2023, Aligning Text-to-Image Diffusion Models with Reward Backpropagation, arXiv 2310.03739',
  options,
  needs: { differentiableReward: true, density: false },
  sampling: { noise: 1, noisyEnd: false },
  async create(task, given) {
    const { truncation, target, scale } = given;
    const count = task.plan.steps.length;
    const loss = (score: Tensor): Tensor => mul(target === null ? neg(score) : abs(sub(target, score)), scale);
    const sampling = await openRewardedSampling(task, truncation === 'fixed' ? count - 1 : 0, loss);
    return {
      async *round(prompts, round) {
        const from = truncationPoint(given, task, round);
        const rewarded = await sampling.run(prompts, round, from);
        yield { gradients: rewarded.gradients, loss: rewarded.loss, rewards: rewarded.score, metrics: { from } };
      },
      release: () => sampling.release(),
    };
  },
};

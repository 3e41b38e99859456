/** @file RLHF-Diffusion-Sharpening: prefer the best of several short trajectories to the worst. */
import { z } from 'zod';
import { meanOf } from '../evaluation/evaluation.js';
import type { HostTensor } from '../graph/dtype.js';
import { combine } from '../schedulers/linear.js';
import { randomTimes } from '../schedulers/process.js';
import { accumulate } from './backprop.js';
import type { Method } from './method.js';
import { rank } from './preference.js';
import { openRollouts } from './rollout.js';
import { walkOptions } from './sharpen-sft.js';
import { openStepRewards, pickWalk } from './step-rewards.js';
import type { Walk } from './step-rewards.js';
import { samplesOf } from './task.js';

const options = z.strictObject({
  ...walkOptions,
  n: z.int().min(2).default(3)
    .describe('Trajectories of each image, of which the best and the worst are compared.'),
  beta: z.number().positive().default(2500)
    .describe('β of the preference loss (beta_dpo 2500).'),
  modulation: z.enum(['inside', 'outside']).default('inside')
    .describe('Where the reward\'s gap goes: `inside` the sigmoid, so that clear cases count more (the paper, eq. 11), or '
      + '`outside`, where it is a constant without gradient (published code).'),
  gapScale: z.union([z.literal('deviation'), z.number().positive()]).default('deviation')
    .describe('Gaps are divided by this, or by the deviation of all rewards of the round (`deviation`); 1 takes rewards as '
      + 'they are.'),
  reference: z.enum(['every', 'first']).default('every')
    .describe('Errors of the reference: at every step like those of the tuned model, or at the `first` only (published '
      + 'code).'),
  guided: z.boolean().default(false)
    .describe('Draw the samples with guidance; without, as in the published code.'),
});

type Options = z.infer<typeof options>;

/** log(1 + eˣ) without overflow. */
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/**
 * Mean of −log σ(β·[(ℓ_ref^b − ℓ_ref^w) − (ℓ^b − ℓ^w)] − gap) over prompts (`inside`), or with + gap after the logarithm
 * (`outside`), and its derivative by ℓ^b for each prompt; that by ℓ^w is its negative.
 */
export function sharpeningLoss(
  best: Walk, worst: Walk, gap: Float32Array, { beta, modulation }: Pick<Options, 'beta' | 'modulation'>,
): { loss: number; slope: Float32Array; logits: Float32Array } {
  const count = gap.length;
  const logits = gap.map((_, i) =>
    beta * (best.referenceLoss[i]! - worst.referenceLoss[i]! - (best.loss[i]! - worst.loss[i]!)));
  const inside = logits.map((logit, i) => (modulation === 'inside' ? logit - gap[i]! : logit));
  const losses = inside.map((v, i) => softplus(-v) + (modulation === 'outside' ? gap[i]! : 0));
  // d softplus(−v)/dv = −σ(−v), and dv/dℓ^b = −β.
  return { loss: meanOf(losses), slope: inside.map((v) => beta / (1 + Math.exp(v)) / count), logits };
}

/**
 * Tian et al. 2025, eq. 11. Samples of each prompt are drawn and noised again, with the very noise that each was drawn from,
 * to one random time; the walks from there, and their errors, are those of the SFT variant. No gradient flows through
 * samples, rewards or the reference's errors.
 * Published beside: AdamW lr 1e-6, all weights of SDXL, 25 sampling steps.
 *
 * Because the noise belongs to its sample, the sign of what is learnt depends on the time: for data N(0, I) the first
 * step of a walk moves the model towards what is preferred where ā < ½ and away from it where ā > ½
 * (tests/methods/sharpen.test.ts). With independent noise that first step would feel no such force: the choice is made by x_t,
 * and given x_t a perfect denoiser is right on average.
 */
export const sharpenRlhf: Method<Options> = {
  name: 'sharpen-rlhf',
  summary: 'prefers the best of n short trajectories of own samples to the worst; any reward',
  paper: 'Tian et al. 2025, Diffusion-Sharpening, arXiv 2502.12146',
  options,
  needs: { differentiableReward: false, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, { n, m, gridSteps, detach, beta, modulation, gapScale, reference, guided }) {
    const rollouts = await openRollouts(task, 'tuned', 'rollout', { guided });
    const stepRewards = await openStepRewards(task, { m, gridSteps, detach, reference });
    return {
      async *round(prompts, round) {
        const key = { seed: task.seed, stream: 'sharpen', step: round };
        const times = randomTimes(task.process, key, 0, prompts.length);
        const walks: Walk[] = [];
        for (let copy = 0; copy < n; copy++) {
          const { x } = await rollouts.rollout(prompts, round, { copy });
          const noise = samplesOf(task, combine([1 / task.plan.initialStd, x[0]!.data as Float32Array]));
          walks.push(await stepRewards.walk(x.at(-1)!, noise, times, prompts, prompts));
        }
        const { best, worst, gap } = rank(walks.map((w) => w.reward));
        const rewards = Float32Array.from(walks.flatMap((w) => [...w.reward]));
        const unit = gapScale === 'deviation' ? deviation(rewards) || 1 : gapScale;
        const [better, poorer] = [pickWalk(task, walks, best), pickWalk(task, walks, worst)];
        const { loss, slope, logits } = sharpeningLoss(better, poorer, gap.map((v) => v / unit), { beta, modulation });
        const gradients: Map<string, HostTensor> = await stepRewards.gradient(better, slope, prompts);
        accumulate(gradients, await stepRewards.gradient(poorer, slope.map((s) => -s), prompts));
        const implicitAccuracy = meanOf(logits.map((v) => (v > 0 ? 1 : 0)));
        yield { gradients, loss, rewards, metrics: { gap: meanOf(gap), implicitAccuracy } };
      },
      async release() {
        await rollouts.release();
        await stepRewards.release();
      },
    };
  },
};

function deviation(values: Float32Array): number {
  const mean = meanOf(values);
  return Math.sqrt(meanOf(values.map((v) => (v - mean) ** 2)));
}

/** @file SFT-Diffusion-Sharpening: learn to denoise along the trajectory that the reward likes best. */
import { z } from 'zod';
import { meanOf } from '../evaluation/evaluation.js';
import { normal } from '../random/random.js';
import { pathText } from '../rewards/path-option.js';
import { randomTimes } from '../schedulers/process.js';
import { emptySome, openCaptioned } from './captioned.js';
import type { Method } from './method.js';
import { rank } from './preference.js';
import { openStepRewards, pickWalk } from './step-rewards.js';
import type { Walk } from './step-rewards.js';
import { sampleSize, samplesOf } from './task.js';

export const walkOptions = {
  n: z.int().positive().default(3)
    .describe('Trajectories of each prompt, among which the reward chooses (trajectory_nums; Table 2: 3 is the knee).'),
  m: z.int().positive().default(3)
    .describe('Steps of a trajectory, fewer where time runs out (num_noisy_latents; Table 3: 3 is the knee).'),
  gridSteps: z.int().positive().default(25)
    .describe('Steps that the whole of time would take, Δ = ⌊T/gridSteps⌋ (infer_steps).'),
  detach: z.boolean().default(false)
    .describe('Hold each step\'s input fixed in the gradient; the published code lets it flow through the chain of steps.'),
};

const options = z.strictObject({
  ...walkOptions,
  pictures: pathText().nullable().default(null)
    .describe('Folder of captioned images; null for the model\'s own samples.'),
  emptyPrompts: z.number().min(0).max(1).default(0.2)
    .describe('Share of pictures trained without their caption (proportion_empty_prompts).'),
});

/**
 * Tian et al. 2025, eq. 8–9: of n noised copies of a picture, denoised from one random time by m steps without guidance,
 * the one with the highest mean reward of its clean predictions; its mean error, whose target at every step is the noise
 * that was added, is descended. No gradient flows through the reward. One time for each picture, where the published
 * code draws one a batch of one; the choice is made for each prompt (its argmax mixes the prompts of larger batches).
 * Published beside: AdamW lr 1e-6, all weights of SDXL.
 */
export const sharpenSft: Method<z.infer<typeof options>> = {
  name: 'sharpen-sft',
  summary: 'denoising loss along the best of n short trajectories of a picture or own sample; any reward',
  paper: 'Tian et al. 2025, Diffusion-Sharpening, arXiv 2502.12146',
  options,
  needs: { differentiableReward: false, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, { n, m, gridSteps, detach, pictures, emptyPrompts }) {
    const source = await openCaptioned(task, pictures, 'tuned', 'sharpen pictures');
    const stepRewards = await openStepRewards(task, { m, gridSteps, detach, reference: 'none' });
    return {
      async *round(given, round) {
        const { clean, prompts } = await source.next(given, round);
        const conditions = pictures === null ? prompts : emptySome(task, prompts, emptyPrompts, 'sharpen', round);
        const key = { seed: task.seed, stream: 'sharpen', step: round };
        const times = randomTimes(task.process, key, 0, prompts.length);
        const walks: Walk[] = [];
        for (let i = 0; i < n; i++) {
          const noise = samplesOf(task, normal(key, 1 + i, prompts.length * sampleSize(task)));
          walks.push(await stepRewards.walk(clean, noise, times, prompts, conditions));
        }
        const { best, gap } = rank(walks.map((w) => w.reward));
        const chosen = pickWalk(task, walks, best);
        const weights = new Float32Array(prompts.length).fill(1 / prompts.length);
        yield {
          gradients: await stepRewards.gradient(chosen, weights, conditions),
          loss: meanOf(chosen.loss),
          rewards: Float32Array.from(walks.flatMap((w) => [...w.reward])),
          metrics: { gap: meanOf(gap) },
        };
      },
      async release() {
        await source.release();
        await stepRewards.release();
      },
    };
  },
};

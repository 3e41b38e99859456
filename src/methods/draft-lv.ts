/** @file DRaFT-LV: DRaFT-1 with less variance, from several re-noised copies of each sample. */
import { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import { normal } from '../random/random.js';
import { combine } from '../schedulers/linear.js';
import { accumulate, openBackprop } from './backprop.js';
import type { Method } from './method.js';
import { meanOf, perItem } from './reward-loss.js';
import { cleanSample, openRoller } from './rollout.js';
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
  needs: { differentiableReward: true, stochasticSampler: false },
  sampler: { eta: 0, lastStep: 'diffusers' },
  async create(task, { n, ownGradient }) {
    const roller = await openRoller(task);
    const backprop = await openBackprop(task, { jacobian: false });
    const last = task.plan.steps.at(-1)!;
    const copies = n + (ownGradient ? 1 : 0);
    return {
      async *round(prompts, round) {
        const trajectory = await roller.rollout(prompts, round);
        const sample = trajectory.x.at(-1)!;
        const gradients = new Map<string, HostTensor>();
        const scores: number[] = [];
        const learnFrom = async (x: HostTensor, result: HostTensor, weight: number): Promise<Float32Array> => {
          const { score, gradient } = await task.reward.gradient(result, prompts);
          const cotangent = perItem(task, gradient, () => (-weight / task.batch / copies));
          accumulate(gradients, (await backprop.network(x, last, cotangent, prompts)).parameters);
          return score;
        };
        let own: Float32Array;
        if (ownGradient) own = await learnFrom(trajectory.x.at(-2)!, sample, last.meanOut);
        else own = await task.reward.score(sample, prompts);
        for (let i = 0; i < n; i++) {
          const key = { seed: task.seed, stream: 'draft-lv', step: round };
          const noise = normal(key, i, task.batch * sampleSize(task));
          const level = [Math.sqrt(last.alphaBar), Math.sqrt(1 - last.alphaBar)] as const;
          const x = samplesOf(task, combine([level[0], sample.data as Float32Array], [level[1], noise]));
          const clean = cleanSample(task, last, x, await roller.predict(x, last, prompts));
          scores.push(...(await learnFrom(x, clean, last.cleanOut)));
        }
        const loss = -meanOf(ownGradient ? [...own, ...scores] : scores);
        yield { gradients, loss, rewards: own };
      },
      async release() {
        await roller.release();
        await backprop.release();
      },
    };
  },
};

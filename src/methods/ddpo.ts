/** @file DDPO: denoising as a decision process, trained by policy gradients from the reward alone. */
import { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import { stochasticSteps } from '../schedulers/transition.js';
import { advantages } from './advantage.js';
import type { Method } from './method.js';
import { openPolicyGradient, policyUpdates } from './policy-gradient.js';
import { openRollouts } from './rollout.js';
import type { Trajectory } from './rollout.js';

const statistics = z.strictObject({
  buffer: z.int().positive().default(16)
    .describe('Rewards remembered for each prompt: 16, or 32 for aesthetic (config/base.py, config/dgx.py).'),
  minCount: z.int().positive().default(16)
    .describe('Fewer than these, and the statistics of the round stand in.'),
});

const options = z.strictObject({
  variant: z.enum(['is', 'sf']).default('is')
    .describe('`is`: importance sampling with clipping, several updates a round; `sf`: score function, exactly one.'),
  rollouts: z.int().positive().default(2)
    .describe('Batches sampled in a round, from the same prompts (num_batches_per_epoch 2, config/base.py).'),
  updates: z.int().positive().nullable().default(null)
    .describe('Updates that share out a round\'s batches. Default: as many as batches for `is`, one for `sf`.'),
  innerEpochs: z.int().positive().default(1)
    .describe('Times that a round\'s samples are gone through (num_inner_epochs).'),
  timestepFraction: z.number().positive().max(1).default(1)
    .describe('Share of the steps that each sample is trained on, drawn anew in each epoch.'),
  clip: z.number().positive().default(1e-4)
    .describe('The ratio counts within 1 ± this (clip_range). It presumes log-probabilities averaged over elements.'),
  advantageClip: z.number().positive().default(5)
    .describe('Advantages are limited to ± this; 10 in the JAX original.'),
  perPrompt: statistics.nullable().prefault({})
    .describe('Advantages by the prompt\'s own latest rewards; null by the round\'s.'),
}).superRefine((o, context) => {
  const { variant, rollouts, updates, innerEpochs } = o;
  const fail = (message: string): void => context.addIssue({ code: 'custom', path: ['updates'], message });
  if (variant === 'sf' && (updates ?? 1) * innerEpochs !== 1) fail('the score-function estimator allows one update a round; use variant is');
  if (rollouts % (updates ?? 1) !== 0) fail(`${rollouts} rollouts cannot be shared out evenly among ${updates} updates`);
});

/**
 * Black et al. 2024, Algorithms 1 and 2. State (c, t, x_t), action x_{t−1} ~ N(μ_θ, σ_t²), reward at the end; an update's
 * gradient is the mean over its samples and all of their chosen steps, through classifier-free guidance. Published
 * defaults (ddpo-pytorch config/base.py, commit 1958463) beside: Adam lr 3e-4, 50 steps, guidance 5. There samples are
 * shuffled into minibatches; here a minibatch is one batch of `rollouts`, in random order.
 */
export const ddpo: Method<z.infer<typeof options>> = {
  name: 'ddpo',
  summary: 'policy gradients on the denoising steps; any reward, also black boxes',
  paper: 'Black et al. 2024, Training Diffusion Models with Reinforcement Learning, arXiv 2305.13301',
  options,
  needs: { differentiableReward: false, density: true },
  sampling: { noise: 1, noisyEnd: true },
  async create(task, { variant, rollouts, updates, innerEpochs, timestepFraction, clip, advantageClip, perPrompt }) {
    const tuned = await openRollouts(task);
    const range = variant === 'is' ? clip : null;
    const objective = await openPolicyGradient(task, { clip: range });
    const memory = new Map<string, HostTensor>();
    const stochastic = stochasticSteps(task.plan);
    const trained = Math.max(1, Math.floor(stochastic.length * timestepFraction));
    const share = rollouts / (updates ?? (variant === 'is' ? rollouts : 1)); // batches an update
    return {
      memory,
      async *round(prompts, round) {
        const trajectories: Trajectory[] = [];
        const rewards: number[] = [];
        for (let copy = 0; copy < rollouts; copy++) {
          const trajectory = await tuned.rollout(prompts, round, { copy });
          trajectories.push(trajectory);
          for (const r of await task.reward.score(trajectory.x.at(-1)!, prompts)) rewards.push(r);
        }
        const all = advantages(rewards, trajectories.flatMap(() => prompts), memory, perPrompt, advantageClip);
        const samples = { trajectories, rewards, advantages: all, steps: stochastic, trained, share };
        for (let epoch = 0; epoch < innerEpochs; epoch++) {
          yield* policyUpdates(task, objective, samples, { stream: `ddpo ${epoch}`, round, clip: range });
        }
      },
      async release() {
        await tuned.release();
        await objective.release();
      },
    };
  },
};

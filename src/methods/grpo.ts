/** @file GRPO: policy gradients on the denoising steps, each sample against the others of its prompt. */
import { z } from 'zod';
import { integers } from '../random/random.js';
import type { Step } from '../schedulers/plan.js';
import { withoutNoise } from '../schedulers/step.js';
import { stochasticSteps } from '../schedulers/transition.js';
import { groupAdvantages } from './advantage.js';
import type { Method } from './method.js';
import { openPolicyGradient, policyUpdates } from './policy-gradient.js';
import { openRollouts } from './rollout.js';
import type { Trajectory } from './rollout.js';

const windowOptions = z.strictObject({
  size: z.int().positive().default(2)
    .describe('Steps that add noise and are learnt from: 2 (Flow-GRPO-Fast), 4 (MixGRPO).'),
  schedule: z.enum(['random', 'progressive']).default('random')
    .describe('`random`: in the first half of the steps, drawn for each round; `progressive`: one step on after every `every` rounds, then from the start.'),
  every: z.int().positive().default(25)
    .describe('Rounds that a progressive window stays (iters_per_group 25, MixGRPO).'),
});

const options = z.strictObject({
  group: z.int().min(2).default(8)
    .describe('Samples of each prompt in a round. 24 in Flow-GRPO, 12 in DanceGRPO, 8 in its settings for one GPU.'),
  updates: z.int().positive().default(2)
    .describe('Updates that share out a round\'s samples: 2 (Flow-GRPO), 1 (DanceGRPO\'s advice with guidance).'),
  deviation: z.enum(['round', 'group', 'unbiased']).default('round')
    .describe('What (r − mean of the group) is divided by: the deviation of the round\'s rewards (global_std), of the '
      + 'group\'s, or the unbiased estimate of that (DanceGRPO).'),
  advantageClip: z.number().positive().default(5)
    .describe('Advantages are limited to ± this.'),
  clip: z.number().positive().default(1e-4)
    .describe('The ratio counts within 1 ± this; 1e-5 with a window, 2e-6 to 4e-6 with `ratio: guard`.'),
  ratio: z.enum(['plain', 'guard']).default('plain')
    .describe('`guard`: the ratio of each step has mean 1 and the same spread (GRPO-Guard), so that clipping acts on good samples too.'),
  kl: z.number().nonnegative().default(1e-3)
    .describe('Weight of the pull to the model before training; 0 for none, which saves a third of the network calls. 0.04 '
      + 'with `klKind: transition` (Flow-GRPO).'),
  klKind: z.enum(['output', 'transition']).default('output')
    .describe('Pull by squared distance of the network\'s outputs (1e-3: AWM; its authors advise it for GRPO), or by the '
      + 'KL divergence of transitions, which weighs late steps far more.'),
  timestepFraction: z.number().positive().max(1).default(1)
    .describe('Share of the steps that each sample is trained on; 0.6 in DanceGRPO.'),
  window: windowOptions.nullable().default(null)
    .describe('Noise in a window of steps alone, the others are an ODE\'s: less to learn from, and to compute. null for all steps.'),
  sameNoise: z.boolean().default(false)
    .describe('All samples of a prompt start from the same noise (DanceGRPO).'),
}).superRefine(({ group, updates }, context) => {
  if (group % updates !== 0) context.addIssue({ code: 'custom', path: ['updates'], message: `${group} samples of a prompt cannot be shared out evenly among ${updates} updates` });
});

/**
 * Liu et al. 2025 (Flow-GRPO), with Xue et al. 2025 (DanceGRPO), Li et al. 2025 (MixGRPO) and Wang et al. 2025
 * (GRPO-Guard) as settings: A = (r − mean of its prompt's samples)/deviation, PPO's objective on every stochastic step.
 * DDPO with other advantages, and a pull to the reference. DanceGRPO: deviation unbiased, timestepFraction 0.6, sameNoise,
 * updates 1, kl 0. Published beside: AdamW lr 3e-4, weight decay 1e-4, LoRA of rank 32; GRPO-Guard's division of the loss
 * by the length of the step is left out (so does Flow-Factory).
 */
export const grpo: Method<z.infer<typeof options>> = {
  name: 'grpo',
  summary: 'policy gradients, each sample against the others of its prompt; any reward, also black boxes',
  paper: 'Liu et al. 2025, Flow-GRPO: Training Flow Matching Models via Online RL, arXiv 2505.05470',
  options,
  needs: { differentiableReward: false, density: true },
  sampling: { noise: 1, noisyEnd: true },
  async create(task, opts) {
    const { group, updates, deviation, advantageClip, clip, ratio, kl, klKind, timestepFraction, window, sameNoise } = opts;
    const rollouts = await openRollouts(task);
    const objective = await openPolicyGradient(task, { clip, ratio, ...(kl > 0 && { pull: { weight: kl, kind: klKind } }) });
    const stochastic = stochasticSteps(task.plan);
    return {
      async *round(prompts, round) {
        const inside = window ? windowOf(stochastic, window, task.seed, round) : stochastic;
        const steps: Step[] = task.plan.steps.map((step, i) => (inside.includes(i) ? step : withoutNoise(step)));
        const trajectories: Trajectory[] = [];
        const rewards: number[] = [];
        for (let copy = 0; copy < group; copy++) {
          const start = sameNoise && copy > 0 ? { start: trajectories[0]!.x[0]! } : {};
          const trajectory = await rollouts.rollout(prompts, round, { copy, ...start, ...(window && { steps }) });
          trajectories.push(trajectory);
          for (const r of await task.reward.score(trajectory.x.at(-1)!, prompts)) rewards.push(r);
        }
        const advantages = groupAdvantages(rewards, trajectories.flatMap(() => prompts), deviation, advantageClip);
        const trained = Math.max(1, Math.floor(inside.length * timestepFraction));
        const samples = { trajectories, rewards, advantages, steps: inside, trained, share: group / updates };
        yield* policyUpdates(task, objective, samples, { stream: 'grpo', round, clip });
      },
      async release() {
        await rollouts.release();
        await objective.release();
      },
    };
  },
};

/** The steps of a round's window. */
function windowOf(stochastic: readonly number[], { size, schedule, every }: z.infer<typeof windowOptions>, seed: number, round: number): readonly number[] {
  const last = Math.max(0, stochastic.length - size);
  const half = Math.max(0, Math.floor(stochastic.length / 2) - size);
  const first = schedule === 'random'
    ? integers({ seed, stream: 'grpo window', step: round }, 0, 1, Math.min(last, half) + 1)[0]!
    : Math.floor(round / every) % (last + 1);
  return stochastic.slice(first, first + size);
}

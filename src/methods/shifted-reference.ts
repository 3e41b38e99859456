/**
 * @file What methods share that regress the trained model's score on the reference's, shifted towards reward: Residual
 * ∇-DB's forward loss, RSM. They differ in the shift G that they learn from a transition x → x' and in its weight:
 *
 *     w²·‖∇_{x'} log P_θ(x'|x) − ∇_{x'} log P_ref(x'|x) − G‖² + λ‖ε_θ − ε_θ†‖²
 *
 * As both scores are linear in the network's output at x, this is a regression of that output on the reference's plus
 * G·std²/(∂μ/∂output).
 */
import { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import { stopGradient } from '../graph/grad.js';
import { add, mul, square, sub } from '../graph/ops/arithmetic.js';
import { mean } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { pause } from '../host/pause.js';
import { stochasticSteps } from '../schedulers/transition.js';
import { meanOfParts } from './loss-graph.js';
import type { LossValue } from './loss-graph.js';
import type { Update } from './method.js';
import { openRollouts } from './rollout.js';
import type { Trajectory } from './rollout.js';
import { smoothedGradient } from './smoothed-reward.js';
import { kept, keep } from './stale.js';
import type { SampleReward, Task } from './task.js';
import { chooseTransitions, transitionAt, upTo } from './transitions.js';
import type { Transition } from './transitions.js';

/** Options that such methods have in common, with ∇-DB's defaults. */
export const chainOptions = {
  trust: z.number().nonnegative().default(1e3)
    .describe('λ: pull towards the network that sampled the trajectories. Acts from the second update on the same ones.'),
  smoothing: z.int().positive().default(1)
    .describe('Perturbed copies of x̂0 that ∇ log R is averaged over; 1 for none (published code). The paper\'s experiments '
      + 'take 3 (algorithms.md §1.6, secondary). The logged reward is then the mean over copies of the finished '
      + 'samples.'),
  smoothingNoise: z.number().positive().default(0.05)
    .describe('Deviation of these perturbations, in latents of about unit variance. Ours: the paper\'s is not known.'),
  fraction: z.number().positive().max(1).default(0.1)
    .describe('Share of transitions that is learnt from; the last one always is.'),
  subsampling: z.enum(['stratified', 'random']).default('stratified')
    .describe('How these are drawn: one from each stretch of time, or any.'),
  updates: z.int().positive().default(1)
    .describe('Updates from the same trajectories, each with other transitions.'),
  lag: z.boolean().default(false)
    .describe('Learn from the trajectories of the round before, as the published code does; the first round only samples.'),
};

const optionsSchema = z.object(chainOptions);
export type ChainOptions = z.infer<typeof optionsSchema>;

/** Mean over elements of w²·‖policy − reference − shift‖², all in the shape of x'; no gradient flows to the reference. */
export function shiftedReferenceLoss(policy: Tensor, reference: Tensor, shift: Tensor, weight?: Tensor): Tensor {
  const difference = sub(policy, add(stopGradient(reference), shift));
  return mean(square(weight ? mul(difference, weight) : difference));
}

/** Σ of terms by their weights. */
export const sumOfTerms = (terms: Readonly<Record<string, Tensor>>, weights: Readonly<Record<string, number>>): Tensor =>
  Object.entries(terms).map(([name, term]) => mul(term, weights[name]!)).reduce((a, b) => add(a, b));

/** Trajectories of a round, and what is to be learnt from them. */
export interface Chain {
  /** To the finished samples. */
  readonly whole: Trajectory;
  /** To the end of the last step that adds noise: the chain of transitions with a density. */
  readonly trajectory: Trajectory;
  /** r and its gradient, smoothed as the options say; other perturbations at each call. */
  readonly reward: SampleReward['gradient'];
  /** r and ∇r of the finished samples. */
  readonly finished: Awaited<ReturnType<SampleReward['gradient']>>;
  /** Transitions by update and item. */
  readonly choices: readonly (readonly number[])[][];
}

/** What one batch of transitions teaches; `stale` if the network has changed since it sampled them. */
export type Lesson = (t: Transition, stale: boolean) => Promise<LossValue<string>>;

/** Samples chains, and makes the updates that are learnt from them. */
export async function openChains(task: Task, opts: ChainOptions) {
  const stochastic = stochasticSteps(task.plan);
  const rollouts = await openRollouts(task);
  const memory = new Map<string, HostTensor>();
  return {
    memory,
    /** Null in the first round with `lag`. */
    async sample(prompts: readonly string[], round: number): Promise<Chain | null> {
      const sampled = await rollouts.rollout(prompts, round);
      const whole = opts.lag ? kept(task, memory) : sampled;
      if (opts.lag) keep(memory, sampled);
      if (!whole) return null;
      const reward = smoothedGradient(task, opts.smoothing, opts.smoothingNoise, round);
      const finished = await reward(whole.x.at(-1)!, whole.prompts);
      const choices = Array.from({ length: opts.updates }, (_, update) => {
        // One stream for all of these methods: they see the same steps.
        const key = { seed: task.seed, stream: `nabla-db ${update}`, step: round };
        return whole.prompts.map((_prompt, item) =>
          chooseTransitions(stochastic.length, opts.fraction, opts.subsampling, key, item).map((i) => stochastic[i]!));
      });
      return { whole, trajectory: upTo(whole, stochastic.at(-1)! + 1), reward, finished, choices };
    },
    /** One update for each of `choices`: the mean of what its batches of transitions teach. */
    async *learn({ trajectory, finished, choices }: Chain, lesson: Lesson): AsyncGenerator<Update> {
      for (const [update, chosen] of choices.entries()) {
        const draws = chosen[0]!.length;
        const total = meanOfParts();
        const metrics: Record<string, number> = {};
        for (let j = 0; j < draws; j++) {
          const part = await lesson(transitionAt(task, trajectory, chosen.map((indices) => indices[j]!)), opts.lag || update > 0);
          total.add(part);
          for (const [name, term] of Object.entries(part.extras)) metrics[name] = (metrics[name] ?? 0) + Number(term.data[0]) / draws;
          await pause();
        }
        yield { ...total.mean(), rewards: finished.score, metrics };
      }
    },
    release: () => rollouts.release(),
  };
}

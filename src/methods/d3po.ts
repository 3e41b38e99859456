/** @file D3PO: direct preference optimisation of each denoising step, from pairs of the model's own samples. */
import { z } from 'zod';
import { meanOf } from '../evaluation/evaluation.js';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { stopGradient } from '../graph/grad.js';
import { clip, logSigmoid, mul, neg, sub } from '../graph/ops/arithmetic.js';
import { sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { permutation } from '../random/random.js';
import type { Step } from '../schedulers/plan.js';
import { stepFeed, transitionMean } from '../schedulers/step.js';
import { logProbability, stochasticSteps } from '../schedulers/transition.js';
import { meanOfParts, openLoss } from './loss-graph.js';
import type { LossValue } from './loss-graph.js';
import type { Method } from './method.js';
import { decidedWeights, rank } from './preference.js';
import { openRollouts } from './rollout.js';
import { itemInput, sampleInput, stepsInput } from './task.js';
import type { Task } from './task.js';
import { pick } from './transitions.js';

const options = z.strictObject({
  beta: z.number().positive().default(0.1)
    .describe('Temperature; 0.1 (config/base.py).'),
  epsilon: z.number().positive().lt(1).default(0.1)
    .describe('Likelihood ratios to the reference are held within 1 ± this (`eps`, config/base.py); no gradient beyond.'),
  innerEpochs: z.int().positive().default(1)
    .describe('Times that a round\'s pairs are gone through (num_inner_epochs).'),
  timestepFraction: z.number().positive().max(1).default(1)
    .describe('Share of the steps that each pair is trained on, drawn anew in each epoch.'),
});

/** One step of one sample of each pair. */
export interface StepTaken {
  readonly x: HostTensor; // [B, C, h, w]
  readonly next: HostTensor;
}

export interface StepPreference {
  /**
   * @param steps the step that both samples of each pair took
   * @param weights [B], 0 for pairs without a winner
   */
  run(
    winner: StepTaken, loser: StepTaken, steps: readonly Step[], weights: Float32Array, prompts: readonly string[],
  ): Promise<LossValue<'margin'>>;
  release(): Promise<void>;
}

/** −Σ wᵢ log σ(β (log ρ_winner − log ρ_loser)), ρ = clamp(p_θ/p_ref, 1 ± ε) of one step, the clamp taken on logarithms. */
export async function openStepPreference(task: Task, beta: number, epsilon: number): Promise<StepPreference> {
  const step = stepsInput(task, 'step');
  const weights = itemInput(task, 'weights');
  const logRatio = (who: string): Tensor => {
    const [x, next] = [sampleInput(task, `${who}/x`), sampleInput(task, `${who}/next`)];
    const logp = (which: 'tuned' | 'reference'): Tensor =>
      logProbability(step, next, transitionMean(step, x, task.network(x, step, which)));
    return clip(sub(logp('tuned'), stopGradient(logp('reference'))), Math.log(1 - epsilon), Math.log(1 + epsilon));
  };
  const margin = mul(sub(logRatio('winner'), logRatio('loser')), beta);
  const graph = await openLoss(task, neg(sum(mul(weights, logSigmoid(margin)))), { over: 'sum', extras: { margin }, calls: 4 * task.callsPerSample });
  return {
    run: (winner, loser, steps, w, prompts) => graph.run({
      'winner/x': winner.x, 'winner/next': winner.next, 'loser/x': loser.x, 'loser/next': loser.next,
      step: stepFeed(steps), weights: host(w, [w.length]),
    }, prompts),
    release: () => graph.release(),
  };
}

/**
 * Yang et al. 2024, eq. 12, as in their code (scripts/train_with_rm.py, commit 40d3175): two samples of each prompt from
 * the same initial noise, the better one by the reward; every step on its own, one update from all. The reference is the
 * model before training. Ties teach nothing. Published beside: Adam lr 3e-5, 20 steps with η = 1, guidance 5.
 */
export const d3po: Method<z.infer<typeof options>> = {
  name: 'd3po',
  summary: 'preferences between pairs of own samples, step by step; any reward',
  paper: 'Yang et al. 2024, Using Human Feedback to Fine-tune Diffusion Models without Any Reward Model, arXiv 2311.13231',
  options,
  needs: { differentiableReward: false, density: true },
  sampling: { noise: 1, noisyEnd: true },
  async create(task, { beta, epsilon, innerEpochs, timestepFraction }) {
    const rollouts = await openRollouts(task);
    const preference = await openStepPreference(task, beta, epsilon);
    const count = task.plan.steps.length;
    const stochastic = stochasticSteps(task.plan);
    const trained = Math.max(1, Math.floor(stochastic.length * timestepFraction));
    return {
      async *round(prompts, round) {
        const first = await rollouts.rollout(prompts, round);
        const pair = [first, await rollouts.rollout(prompts, round, { start: first.x[0]!, copy: 1 })];
        const scores: Float32Array[] = [];
        for (const { x } of pair) scores.push(await task.reward.score(x.at(-1)!, prompts));
        const { best, worst, gap } = rank(scores);
        const weights = decidedWeights(gap);
        /** Item b: step `times[b]` of candidate `chosen[b]`. */
        const side = (chosen: readonly number[], times: readonly number[]): StepTaken => {
          const at = (shift: number): HostTensor =>
            pick(task, pair.flatMap((t) => t.x), times.map((t, b) => chosen[b]! * (count + 1) + t + shift));
          return { x: at(0), next: at(1) };
        };
        for (let epoch = 0; epoch < innerEpochs; epoch++) {
          const key = { seed: task.seed, stream: `d3po ${epoch}`, step: round };
          const orders = prompts.map((_, b) => permutation(key, b, stochastic.length));
          const total = meanOfParts();
          for (let j = 0; j < trained; j++) {
            const times = orders.map((order) => stochastic[order[j]!]!);
            const steps = times.map((t) => first.steps[t]!);
            total.add(await preference.run(side(best, times), side(worst, times), steps, weights, prompts));
          }
          yield { ...total.mean(), rewards: Float32Array.from(scores.flatMap((s) => [...s])), metrics: { gap: meanOf(gap) } };
        }
      },
      async release() {
        await rollouts.release();
        await preference.release();
      },
    };
  },
};

/** @file Diffusion-DPO: preferences between finished pictures, through the error of denoising them. */
import { z } from 'zod';
import { meanOf } from '../evaluation/evaluation.js';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { stopGradient } from '../graph/grad.js';
import { logSigmoid, mul, neg, sub } from '../graph/ops/arithmetic.js';
import { sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { integers } from '../random/random.js';
import { pathText } from '../rewards/path-option.js';
import { stepFeed } from '../schedulers/step.js';
import { emptySome } from './captioned.js';
import { denoisingError, drawCorruption } from './denoising-error.js';
import type { Corruption } from './denoising-error.js';
import { openLoss } from './loss-graph.js';
import type { LossValue } from './loss-graph.js';
import type { Method } from './method.js';
import { decidedWeights, rank } from './preference.js';
import { openRollouts } from './rollout.js';
import { itemInput, sampleInput, stepsInput } from './task.js';
import type { Task, PolicyRole } from './task.js';
import { pick } from './transitions.js';

const options = z.strictObject({
  pairs: pathText().nullable().default(null)
    .describe('File of image pairs, .csv, .tsv, .jsonl, .json or .parquet (columns prompt, winner, loser); null for own samples ranked by the reward.'),
  beta: z.number().positive().default(5000)
    .describe('How strongly the tuned model is held to the reference; 5000 for SD 1.5 and SDXL (launchers of the published '
      + 'code).'),
  samples: z.int().min(2).default(2)
    .describe('Own samples of each prompt in a round, of which the best and the worst make the pair.'),
  from: z.enum(['reference', 'tuned']).default('reference')
    .describe('Who draws own samples: the model before training, as offline pairs are drawn, or the one being tuned.'),
  updates: z.int().positive().default(1)
    .describe('Updates from a round\'s pairs, each with new times and noise.'),
  emptyPrompts: z.number().min(0).max(1).default(0.2)
    .describe('Share of given pairs trained without their prompt (proportion_empty_prompts).'),
});

/** Pairs of one batch. */
export interface Pairs {
  readonly winners: HostTensor; // [B, C, h, w]
  readonly losers: HostTensor;
  readonly prompts: readonly string[];
  /** [B], 0 for ties. */
  readonly weights: Float32Array;
}

export interface PairLoss {
  /** `inside` [B] is what the sigmoid is taken of: above 0 where the tuned model agrees with the preference. */
  run(pairs: Pairs, corruption: Corruption): Promise<LossValue<'inside'>>;
  release(): Promise<void>;
}

/** −Σ wᵢ log σ(−½β [(e_θ(winner) − e_θ(loser)) − (e_ref(winner) − e_ref(loser))]), one time and noise for both. */
export async function openPairLoss(task: Task, beta: number): Promise<PairLoss> {
  const [winners, losers, noise] = [sampleInput(task, 'winners'), sampleInput(task, 'losers'), sampleInput(task, 'noise')];
  const weights = itemInput(task, 'weights');
  const step = stepsInput(task, 'step');
  const difference = (which: PolicyRole): Tensor =>
    sub(denoisingError(task, winners, noise, step, which), denoisingError(task, losers, noise, step, which));
  const inside = mul(sub(difference('tuned'), stopGradient(difference('reference'))), -0.5 * beta);
  const graph = await openLoss(task, neg(sum(mul(weights, logSigmoid(inside)))), { over: 'sum', extras: { inside }, calls: 4 });
  return {
    run: ({ winners: w, losers: l, prompts, weights: each }, corruption) => graph.run({
      winners: w, losers: l, noise: corruption.noise, step: stepFeed(corruption.steps), weights: host(each, [each.length]),
    }, prompts),
    release: () => graph.release(),
  };
}

type Batch = Pairs & { readonly rewards: Float32Array };

interface PairSource {
  next(prompts: readonly string[], round: number): Promise<Batch>;
  release(): Promise<void>;
}

/** Pairs from a file. Their winners are scored, so that there is a reward to show. */
async function givenPairs(task: Task, path: string, emptyPrompts: number): Promise<PairSource> {
  const given = await task.data.pairs(path);
  return {
    async next({ length }, round) {
      const indices = [...integers({ seed: task.seed, stream: 'dpo pairs', step: round }, 0, length, given.prompts.length)];
      const { winners, losers } = await given.samples(indices);
      const prompts = indices.map((i) => given.prompts[i]!);
      const rewards = await task.reward.score(winners, prompts);
      const weights = new Float32Array(length).fill(1 / length);
      return { winners, losers, prompts: emptySome(task, prompts, emptyPrompts, 'dpo', round), weights, rewards };
    },
    release: async () => {},
  };
}

/** The best and the worst of several own samples. */
async function ownPairs(task: Task, which: PolicyRole, count: number): Promise<PairSource> {
  const rollouts = await openRollouts(task, which);
  return {
    async next(prompts, round) {
      const candidates: HostTensor[] = [];
      const scores: Float32Array[] = [];
      for (let copy = 0; copy < count; copy++) {
        candidates.push((await rollouts.rollout(prompts, round, { copy })).x.at(-1)!);
        scores.push(await task.reward.score(candidates[copy]!, prompts));
      }
      const { best, worst, gap } = rank(scores);
      return {
        winners: pick(task, candidates, best), losers: pick(task, candidates, worst), prompts,
        weights: decidedWeights(gap), rewards: Float32Array.from(scores.flatMap((s) => [...s])),
      };
    },
    release: () => rollouts.release(),
  };
}

/**
 * Wallace et al. 2024, eq. 14, as in their code (train.py, commit 5233e75): errors are means over elements, so βTω(λ_t)
 * is one number; no guidance. That code samples latents from the encoder's Gaussian and flips pictures at random; here
 * the mean is taken and nothing is flipped. Published beside: lr 2.048e-5 at 2048 pairs an update, all weights.
 */
export const dpo: Method<z.infer<typeof options>> = {
  name: 'dpo',
  summary: 'Diffusion-DPO on pairs of pictures from a file, or on own samples ranked by any reward',
  paper: 'Wallace et al. 2024, Diffusion Model Alignment Using Direct Preference Optimization, arXiv 2311.12908',
  options,
  needs: { differentiableReward: false, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, { pairs, beta, samples, from, updates, emptyPrompts }) {
    const source = await (pairs === null ? ownPairs(task, from, samples) : givenPairs(task, pairs, emptyPrompts));
    const loss = await openPairLoss(task, beta);
    return {
      async *round(prompts, round) {
        const { rewards, ...batch } = await source.next(prompts, round);
        for (let update = 0; update < updates; update++) {
          const { extras, ...value } = await loss.run(batch, drawCorruption(task, batch.prompts.length, `dpo ${update}`, round));
          const decided = (extras.inside.data as Float32Array).filter((_, i) => batch.weights[i]! > 0);
          const agree = decided.map((v) => (v > 0 ? 1 : 0));
          yield { ...value, rewards, ...(agree.length > 0 && { metrics: { implicitAccuracy: meanOf(agree) } }) };
        }
      },
      async release() {
        await source.release();
        await loss.release();
      },
    };
  },
};

/** @file Measures a model: fixed prompts and seeds, reward, held-out reward, diversity, Fréchet distance to the base. */
import { diversities } from '../evaluation/diversity.js';
import { deviation } from '../evaluation/evaluation.js';
import type { FeatureExtractor } from '../evaluation/features.js';
import { frechetDistance, gaussianStatistics } from '../evaluation/frechet.js';
import type { GaussianStatistics } from '../evaluation/frechet.js';
import type { Judged, Measures } from '../evaluation/hacking-guard.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Roller } from '../methods/rollout.js';
import { meanOf } from '../methods/reward-loss.js';
import { joinRows } from '../rewards/rows.js';
import type { Scorer } from '../rewards/scorer.js';
import type { PipelineSampling } from '../sampling/model.js';
import type { Plan } from '../schedulers/plan.js';
import type { RunConfig } from './config.js';
import type { Progress } from '../runs/progress.js';

/** What is sampled to measure a model: the prompt of each image, and the noise. */
export interface EvaluationSet {
  /** The list that the prompts are from. */
  readonly list: string;
  /** Whether none of the prompts is trained on. */
  readonly untrained: boolean;
  readonly prompts: readonly string[];
  /** Image i is made from the roller's item `first` + i. */
  readonly first: number;
}

export interface EvaluatorParts {
  model: PipelineSampling;
  /** Samples from noise by item that training does not use. */
  roller: Roller;
  /** The roller's. */
  plan: Plan;
  /** What checkpoints are chosen by. */
  selection: EvaluationSet;
  reward: Scorer;
  heldOut: Scorer | null;
  /** Its name. */
  heldOutName: string | null;
  features: FeatureExtractor | null;
  progress: Progress;
}

export interface Measured {
  readonly evaluation: Judged;
  /** [N, 3, H, W], prompt by prompt. */
  readonly images: HostTensor;
  /** N prompts. */
  readonly prompts: readonly string[];
  readonly rewards: Float32Array;
  readonly heldOut: Float32Array | null;
  /** Of the images' features, if there is a feature space. */
  readonly statistics: GaussianStatistics | null;
}

/** What the Fréchet distance is measured from: the base model's samples; `'self'` for those themselves; null: not measured. */
export type Base = GaussianStatistics | 'self' | null;

export interface Evaluator {
  /** What checkpoints are chosen by. */
  readonly selection: EvaluationSet;
  readonly measures: Measures;
  /** How images are sampled. */
  readonly plan: Plan;
  /** @param set the selection by default */
  measure(step: number, base: Base, set?: EvaluationSet): Promise<Measured>;
  /** Measures images [N, 3, H, W] of the selection's prompts that were made elsewhere. */
  assess(images: HostTensor, step: number, base: Base): Promise<Measured>;
}

export function openEvaluator(parts: EvaluatorParts): Evaluator {
  const { model, roller, reward, heldOut, features, progress, selection } = parts;
  async function assess(images: HostTensor, step: number, base: Base, { prompts }: EvaluationSet): Promise<Measured> {
    const { total: rewards, parts: shares } = await reward.scoreParts(images, prompts);
    const held = heldOut && (await heldOut.score(images, prompts));
    const rows = features && (await features.images(images));
    const diverse = rows && diversities(rows, prompts);
    const statistics = rows && gaussianStatistics(rows);
    const evaluation: Judged = {
      step,
      reward: meanOf(rewards),
      ...(shares.size > 0 && { rewardParts: Object.fromEntries([...shares].map(([name, r]) => [name, meanOf(r)])) }),
      ...(held && {
        heldOutReward: meanOf(held), heldOutError: deviation(held) / Math.sqrt(held.length), heldOutScores: [...held],
      }),
      ...(diverse && { diversity: meanOf(diverse), diversities: diverse }),
      ...(statistics && base && { frechet: base === 'self' ? 0 : frechetDistance(statistics, base) }),
    };
    return { evaluation, images, prompts, rewards, heldOut: held, statistics };
  }
  return {
    selection,
    measures: { heldOut: parts.heldOutName, features: features !== null },
    plan: parts.plan,
    assess: (images, step, base) => assess(images, step, base, selection),
    measure: async (step, base, set = selection) => assess(await sampleImages(model, roller, set, progress), step, base, set),
  };
}

/** The seed of the selection's first picture, as `attune sample` counts. */
export const firstSeed = ({ config, evaluator }: { config: RunConfig; evaluator: Evaluator }): number =>
  config.evaluation.seed + evaluator.selection.first;

/** One image per prompt, each from its own item's noise. */
async function sampleImages(
  model: PipelineSampling, roller: Roller, { prompts, first }: Pick<EvaluationSet, 'prompts' | 'first'>, progress: Progress,
): Promise<HostTensor> {
  const parts: HostTensor[] = [];
  for (let start = 0; start < prompts.length; start += model.microbatch) {
    const part = prompts.slice(start, start + model.microbatch);
    const { x } = await roller.rollout(part, 0, { items: part.map((_, i) => first + start + i) });
    parts.push(await model.decode(x.at(-1)!));
    progress.step(start + part.length, prompts.length, 'images sampled');
  }
  return joinRows(parts);
}

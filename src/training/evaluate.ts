/** @file Measures a model: fixed prompts and seeds, reward, held-out reward, diversity, Fréchet distance to the base. */
import { diversity } from '../evaluation/diversity.js';
import type { FeatureExtractor } from '../evaluation/features.js';
import { frechetDistance, gaussianStatistics } from '../evaluation/frechet.js';
import type { GaussianStatistics } from '../evaluation/frechet.js';
import type { Evaluation } from '../evaluation/hacking-guard.js';
import type { HostTensor } from '../graph/dtype.js';
import type { Roller } from '../methods/rollout.js';
import { meanOf } from '../methods/reward-loss.js';
import { joinRows, takeRows } from '../rewards/rows.js';
import type { Scorer } from '../rewards/scorer.js';
import type { Plan } from '../schedulers/plan.js';
import type { PipelineTask } from './pipeline-task.js';
import type { Progress } from './progress.js';

export interface EvaluatorParts {
  task: PipelineTask;
  /** Samples from noise by item that training does not use. */
  roller: Roller;
  /** The roller's. */
  plan: Plan;
  prompts: readonly string[];
  /** Images of each prompt. */
  images: number;
  reward: Scorer;
  heldOut: Scorer | null;
  features: FeatureExtractor | null;
  progress: Progress;
}

export interface Measured {
  readonly evaluation: Evaluation;
  /** [N, 3, H, W], prompt by prompt. */
  readonly images: HostTensor;
  /** N prompts. */
  readonly prompts: readonly string[];
  readonly rewards: Float32Array;
  /** Of the images' features, if there is a feature space. */
  readonly statistics: GaussianStatistics | null;
}

export interface Evaluator {
  /** The prompt of each image. */
  readonly prompts: readonly string[];
  /** How images are sampled. */
  readonly plan: Plan;
  /** @param base statistics of the base model's samples; without them the Fréchet distance is 0 */
  measure(step: number, base: GaussianStatistics | null): Promise<Measured>;
  /** Measures images [N, 3, H, W] of `prompts` that were made elsewhere. */
  assess(images: HostTensor, step: number, base: GaussianStatistics | null): Promise<Measured>;
}

/** Sample deviation. */
export const deviation = (values: Float32Array): number => {
  const m = meanOf(values);
  return Math.sqrt(values.reduce((s, v) => s + (v - m) ** 2, 0) / Math.max(1, values.length - 1));
};

export function openEvaluator(parts: EvaluatorParts): Evaluator {
  const { task, roller, reward, heldOut, features, progress } = parts;
  const prompts = parts.prompts.flatMap((p) => new Array<string>(parts.images).fill(p));
  const assess: Evaluator['assess'] = async (images, step, base) => {
    const { total: rewards, parts: shares } = await reward.scoreParts(images, prompts);
    const held = heldOut && (await heldOut.score(images, prompts));
    const rows = features && (await features.images(images));
    const statistics = rows && gaussianStatistics(rows);
    const evaluation: Evaluation = {
      step,
      reward: meanOf(rewards),
      ...(shares.size > 0 && { rewardParts: Object.fromEntries([...shares].map(([name, r]) => [name, meanOf(r)])) }),
      ...(held && { heldOutReward: meanOf(held), heldOutError: deviation(held) / Math.sqrt(held.length) }),
      diversity: rows ? diversity(rows, prompts) : 0,
      frechet: statistics && base ? frechetDistance(statistics, base) : 0,
    };
    return { evaluation, images, prompts, rewards, statistics };
  };
  return {
    prompts,
    plan: parts.plan,
    assess,
    measure: async (step, base) => assess(await sampleImages(task, roller, prompts, progress), step, base),
  };
}

/** One image per prompt; image i is made from the roller's item i, whatever the batch. */
export async function sampleImages(
  task: PipelineTask, roller: Roller, prompts: readonly string[], progress: Progress,
): Promise<HostTensor> {
  const parts: HostTensor[] = [];
  for (let start = 0; start < prompts.length; start += task.batch) {
    const part = prompts.slice(start, start + task.batch);
    // The last batch is filled up with its own last prompt.
    const full = [...part, ...new Array<string>(task.batch - part.length).fill(part.at(-1)!)];
    const { x } = await roller.rollout(full, start / task.batch);
    parts.push(takeRows(await task.decode(x.at(-1)!), 0, part.length));
    progress.step(start + part.length, prompts.length, 'images sampled');
  }
  return joinRows(parts);
}

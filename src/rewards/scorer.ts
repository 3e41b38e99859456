/** @file Runs a reward on pictures in memory: compiled once per image size, in batches, each query counted. */
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import { compile } from '../runtime/compile.js';
import type { Executable, Execution } from '../runtime/compile.js';
import { checkBatch, checkScores, RewardError } from './reward.js';
import type { DifferentiableReward, PartScores, Reward, RewardPart } from './reward.js';
import { takeRows } from './rows.js';

export interface ScorerOptions {
  /** Images per run of the compiled graph; the last batch is filled up with copies. */
  batch?: number;
  compile?: Execution;
}

export interface Scorer {
  readonly reward: Reward;
  /** Images scored so far: the literature's reward queries. A weighted sum counts an image once. */
  readonly queries: number;
  /**
   * @param images float32 [N, 3, H, W] in [0, 1], any N > 0
   * @param prompts the prompts of these N images, in order
   * @returns N scores; each depends on its own image and prompt only
   * @throws RewardError for missing prompts, or a score that is not a finite number
   */
  score(images: HostTensor, prompts: readonly string[]): Promise<Float32Array>;
  /** The same, and of a weighted sum also what each of its rewards gave by itself, by name. */
  scoreParts(images: HostTensor, prompts: readonly string[]): Promise<PartScores>;
  /** Frees the compiled graphs; the reward itself stays usable. */
  release(): Promise<void>;
}

export const SCORED_TOGETHER = 8;

async function compileScore(
  reward: DifferentiableReward, shape: readonly number[], options: ScorerOptions,
): Promise<Executable<'score'>> {
  const score = reward.trace(input('images', shape));
  if (score.rank !== 1 || score.shape[0] !== shape[0]) {
    throw new RewardError(`reward ${reward.name} is traced to ${score} for ${shape[0]} images, not to [${shape[0]}]`);
  }
  return compile({ outputs: { score } }, { ...options.compile, weights: reward.weights });
}

/** The sum of the terms of rewards that are scored one by one. */
export function openSum(
  parts: readonly RewardPart[], options: ScorerOptions = {},
): { score(images: HostTensor, prompts: readonly string[]): Promise<PartScores>; release(): Promise<void> } {
  const opened = parts.map((part) => ({ ...part, scorer: openScorer(part.reward, options) }));
  return {
    async score(images, prompts) {
      const total = new Float64Array(prompts.length);
      const each = new Map<string, Float32Array>();
      for (const { reward, term, scorer } of opened) {
        const scores = await scorer.score(images, prompts);
        for (let k = 0; k < total.length; k++) total[k]! += term.value(scores[k]!);
        each.set(reward.name, scores);
      }
      return { total: Float32Array.from(total), parts: each };
    },
    async release() {
      for (const { scorer } of opened) await scorer.release();
    },
  };
}

/** Opens any reward, differentiable or not, as a function of images and their prompts. */
export function openScorer(reward: Reward, options: ScorerOptions = {}): Scorer {
  const { batch = SCORED_TOGETHER } = options;
  const compiled = new Map<string, Executable<'score'>>();
  const sum = reward.parts && openSum(reward.parts, options);
  let queries = 0;

  async function scoreCompiled(
    differentiable: DifferentiableReward, images: HostTensor, prompts: readonly string[],
  ): Promise<Float32Array> {
    const shape = [batch, ...images.shape.slice(1)];
    const key = shape.join();
    const executable = compiled.get(key) ?? await compileScore(differentiable, shape, options);
    compiled.set(key, executable);
    const scores = new Float32Array(prompts.length);
    for (let start = 0; start < prompts.length; start += batch) {
      const own = Array.from({ length: batch }, (_, i) => prompts[Math.min(start + i, prompts.length - 1)]!);
      const feeds = { images: takeRows(images, start, batch), ...(await differentiable.feeds(own)) };
      const result = (await executable.run(feeds)).score.data as Float32Array;
      scores.set(result.subarray(0, Math.min(batch, prompts.length - start)), start);
    }
    return scores;
  }

  async function score(images: HostTensor, prompts: readonly string[]): Promise<Float32Array> {
    checkBatch(reward.name, images, prompts);
    const scores = reward.differentiable && !reward.score
      ? await scoreCompiled(reward, images, prompts)
      : await reward.score!(images, prompts, options.compile?.signal);
    checkScores(reward.name, scores, prompts);
    queries += prompts.length;
    return scores;
  }

  return {
    reward,
    get queries() {
      return queries;
    },
    score,
    async scoreParts(images, prompts) {
      if (!sum) return { total: await score(images, prompts), parts: new Map() };
      const scores = await sum.score(images, prompts);
      queries += prompts.length;
      return scores;
    },
    async release() {
      await sum?.release();
      for (const executable of compiled.values()) await executable.release();
      compiled.clear();
    },
  };
}

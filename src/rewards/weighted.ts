/** @file A sum of rewards, each with a term of its own; the weighted sum, each normalised by given numbers. */
import { add } from '../graph/ops/arithmetic.js';
import type { Tensor } from '../graph/tensor.js';
import type { Feeds } from '../runtime/compile.js';
import { RewardError } from './reward.js';
import type { DifferentiableReward, Reward, RewardPart } from './reward.js';
import { openSum } from './scorer.js';
import type { ScorerOptions } from './scorer.js';
import { fixedTerm } from './terms.js';

export interface Part {
  readonly reward: Reward;
  /** Default 1; negative to avoid what the reward measures. */
  readonly weight?: number;
  /** Subtracted from the score: the base model's mean, say. Default 0. */
  readonly mean?: number;
  /** The score is divided by it: the base model's deviation, say. Default 1. */
  readonly std?: number;
}

/**
 * Σᵢ weightᵢ · (rᵢ − meanᵢ) / stdᵢ, as `sumOf`.
 *
 * @throws RewardError for no parts, two parts of one name, or numbers that are no scale
 */
export function weightedSum(parts: readonly Part[], options: ScorerOptions = {}): Reward {
  return sumOf(parts.map(({ reward, weight = 1, mean = 0, std = 1 }) => {
    if (![weight, mean, std].every(Number.isFinite) || std <= 0) {
      const given = `weight ${weight}, mean ${mean} and std ${std}`;
      throw new RewardError(`reward ${reward.name}: ${given} must be finite, and std positive`);
    }
    return { reward, term: fixedTerm({ weight, mean, std }) };
  }), options);
}

/**
 * The sum of the parts' terms. Differentiable if all parts are; else a black box, which runs the differentiable parts
 * compiled, with `options`. `release` releases the parts.
 *
 * @throws RewardError for no parts, or two parts of one name
 */
export function sumOf(parts: readonly RewardPart[], options: ScorerOptions = {}): Reward {
  if (parts.length === 0) throw new RewardError('a weighted sum needs at least one reward');
  const names = parts.map(({ reward }) => reward.name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new RewardError(`two parts of a weighted sum are named ${twice}; rename one`);
  const bound = (side: 0 | 1): number => parts.reduce((total, { reward: { range }, term }) =>
    total + (side === 0 ? Math.min : Math.max)(term.value(range[0]), term.value(range[1])), 0);
  const about = {
    name: names.join('+'),
    description: parts.map(({ reward, term }) => `${term.text}${reward.name}`).join(' + '),
    range: [bound(0), bound(1)] as const,
    parts,
  };
  const releaseParts = async (): Promise<void> => {
    for (const { reward } of parts) await reward.release?.();
  };

  const rewards = parts.map(({ reward }) => reward);
  if (rewards.every((r): r is DifferentiableReward => r.differentiable)) {
    return {
      ...about,
      differentiable: true,
      get weights() {
        return new Map(rewards.flatMap((r) => [...r.weights]));
      },
      trace: (images: Tensor, each?: Map<string, Tensor>) => rewards
        .map((r, i) => {
          const score = r.trace(images);
          each?.set(r.name, score);
          return parts[i]!.term.trace(score);
        })
        .reduce((a, b) => add(a, b)),
      feeds: async (prompts: readonly string[]): Promise<Feeds> =>
        Object.assign({}, ...parts.map(({ term }) => term.feeds()), ...(await Promise.all(rewards.map((r) => r.feeds(prompts))))) as Feeds,
      release: releaseParts,
    };
  }

  const sum = openSum(parts, options);
  return {
    ...about,
    differentiable: false,
    score: async (images, prompts) => (await sum.score(images, prompts)).total,
    scoreParts: sum.score,
    async release() {
      await sum.release();
      await releaseParts();
    },
  };
}

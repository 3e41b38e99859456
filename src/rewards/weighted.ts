/** @file A weighted sum of rewards, each normalised by given numbers. */
import { add, mul } from '../graph/ops/arithmetic.js';
import type { Tensor } from '../graph/tensor.js';
import type { Feeds } from '../runtime/compile.js';
import { RewardError } from './reward.js';
import type { DifferentiableReward, Reward, RewardPart } from './reward.js';
import { openSum } from './scorer.js';
import type { ScorerOptions } from './scorer.js';

export interface Part {
  readonly reward: Reward;
  /** Default 1; negative to avoid what the reward measures. */
  readonly weight?: number;
  /** Subtracted from the score: the base model's mean, say. Default 0. */
  readonly mean?: number;
  /** The score is divided by it: the base model's deviation, say. Default 1. */
  readonly std?: number;
}

type Affine = Pick<RewardPart, 'scale' | 'shift'>;

/** weight · (r − mean) / std as scale · r + shift */
function affine({ reward, weight = 1, mean = 0, std = 1 }: Part): Affine {
  if (![weight, mean, std].every(Number.isFinite) || std <= 0) {
    const given = `weight ${weight}, mean ${mean} and std ${std}`;
    throw new RewardError(`reward ${reward.name}: ${given} must be finite, and std positive`);
  }
  return { scale: weight / std, shift: (-weight * mean) / std };
}

/**
 * Σᵢ weightᵢ · (rᵢ − meanᵢ) / stdᵢ. Differentiable if all parts are; else a black box, which runs the differentiable
 * parts compiled, with `options`. `release` releases the parts.
 *
 * @throws RewardError for no parts, two parts of one name, or numbers that are no scale
 */
export function weightedSum(parts: readonly Part[], options: ScorerOptions = {}): Reward {
  if (parts.length === 0) throw new RewardError('a weighted sum needs at least one reward');
  const names = parts.map(({ reward }) => reward.name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new RewardError(`two parts of a weighted sum are named ${twice}; rename one`);
  const maps = parts.map(affine);
  const bound = (side: 0 | 1): number => parts.reduce((total, { reward }, i) => {
    const { scale, shift } = maps[i]!;
    return total + shift + scale * reward.range[scale < 0 ? 1 - side : side]!;
  }, 0);
  const about = {
    name: names.join('+'),
    description: parts.map(({ reward }, i) => `${term(maps[i]!)}${reward.name}`).join(' + '),
    range: [bound(0), bound(1)] as const,
    parts: parts.map(({ reward }, i): RewardPart => ({ reward, ...maps[i]! })),
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
      trace: (images: Tensor) => rewards
        .map((r, i) => add(mul(r.trace(images), maps[i]!.scale), maps[i]!.shift))
        .reduce((a, b) => add(a, b)),
      feeds: async (prompts: readonly string[]): Promise<Feeds> =>
        Object.assign({}, ...(await Promise.all(rewards.map((r) => r.feeds(prompts))))) as Feeds,
      release: releaseParts,
    };
  }

  const sum = openSum(about.parts, options);
  return {
    ...about,
    differentiable: false,
    score: async (images, prompts) => (await sum.score(images, prompts)).total,
    async release() {
      await sum.release();
      await releaseParts();
    },
  };
}

/** What stands before a name: "0.5 · ", or "-0.2 + 0.5 · ", or nothing. */
function term({ scale, shift }: Affine): string {
  const number = (x: number): string => String(Number(x.toPrecision(4)));
  return `${shift === 0 ? '' : `${number(shift)} + `}${scale === 1 ? '' : `${number(scale)} · `}`;
}

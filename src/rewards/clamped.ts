/** @file A reward cut to a range: what is beyond it asks for no more. */
import { maximum, minimum } from '../graph/ops/arithmetic.js';
import type { Reward } from './reward.js';

/** max(low, min(high, r)); no gradient beyond, so that a reward that is good enough lets others have their say. */
export function clamped(reward: Reward, low: number, high: number): Reward {
  const range = reward.range.map((bound) => Math.min(high, Math.max(low, bound))) as [number, number];
  const about = { range, description: `${reward.description}, cut to [${low}, ${high}]` };
  if (!reward.differentiable) {
    return { ...reward, ...about, score: async (...asked) => (await reward.score(...asked)).map((s) => Math.min(high, Math.max(low, s))) };
  }
  return {
    ...reward, ...about,
    get weights() {
      return reward.weights;
    },
    trace(images) {
      const score = reward.trace(images);
      const below = Number.isFinite(high) ? minimum(score, high) : score;
      return Number.isFinite(low) ? maximum(below, low) : below;
    },
  };
}

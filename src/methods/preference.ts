/** @file Which of several samples of a prompt the reward prefers. */

export interface Ranking {
  /** Number of the best and of the worst candidate for each prompt [B]. */
  readonly best: readonly number[];
  readonly worst: readonly number[];
  /** How much more the best one scores [B]; 0 where all are alike, so that nothing is preferred. */
  readonly gap: Float32Array;
}

/** @param scores [B] for each candidate: scores[k][b] is the k-th candidate's for prompt b */
export function rank(scores: readonly Float32Array[]): Ranking {
  const prompts = Array.from(scores[0]!, (_, b) => scores.map((s) => s[b]!));
  const best = prompts.map((s) => s.indexOf(Math.max(...s)));
  const worst = prompts.map((s) => s.indexOf(Math.min(...s)));
  return { best, worst, gap: Float32Array.from(prompts, (s, b) => s[best[b]!]! - s[worst[b]!]!) };
}

/** 1/n for the n pairs that are decided, 0 for ties: weights of a mean over pairs. */
export function decidedWeights(gap: Float32Array): Float32Array {
  const decided = gap.filter((g) => g > 0).length;
  return gap.map((g) => (g > 0 ? 1 / decided : 0));
}

/** @file Win rate: the share of pairs of one prompt and noise in which the tuned model's image has the higher score. */
import { deviation, groupMeans, meanOf } from './evaluation.js';
import { wilson } from './wilson.js';
import type { Share } from './wilson.js';

/** 1 for each pair in which `after` is higher, a half for equal ones, 0 for others. */
export const winsOf = (before: ArrayLike<number>, after: ArrayLike<number>): number[] =>
  Array.from(before, (b, i) => (after[i]! > b ? 1 : after[i]! < b ? 0 : 0.5));

/**
 * The mean of `winsOf` with Wilson's interval (1927). Images of one prompt
 * mostly win or lose together: the interval is that of as many independent pairs as give the shares' scatter between prompts
 * (Kish's design effect, not below 1). Where all pairs agree nothing tells that, and each counts.
 *
 * @param groups the prompt of each pair
 */
export function winRate(before: ArrayLike<number>, after: ArrayLike<number>, groups: readonly string[]): Share {
  const wins = winsOf(before, after);
  const mean = meanOf(wins);
  const alone = (mean * (1 - mean)) / wins.length;
  const shares = groupMeans(wins, groups);
  const between = shares.length < 2 ? 0 : deviation(shares) ** 2 / shares.length;
  const n = wins.length / (alone === 0 ? 1 : Math.max(1, between / alone));
  return wilson(mean * n, n)!;
}

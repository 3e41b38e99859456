/** @file Numbers over seeds: means and deviations, mean curves, and what it costs to reach a reward. */
import type { RunPoint } from './run-record.js';

export interface Spread {
  readonly mean: number;
  /** Sample deviation; null for a single value. */
  readonly deviation: number | null;
  readonly count: number;
}

/** Mean and sample deviation of at least one value. */
export function spreadOf(values: readonly number[]): Spread {
  const count = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / count;
  const deviation = count < 2 ? null : Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / (count - 1));
  return { mean, deviation, count };
}

/** The kth evaluations of all runs, for each k that all of them have. */
export function alignedPoints(runs: readonly (readonly RunPoint[])[]): RunPoint[][] {
  const length = runs.reduce((n, points) => Math.min(n, points.length), runs.length === 0 ? 0 : Infinity);
  return Array.from({ length }, (_, k) => runs.map((points) => points[k]!));
}

/** What can be spent, by its name in tables. */
export const COST_NAMES = {
  step: 'updates', rewardQueries: 'reward queries', denoiserCalls: 'denoiser calls', seconds: 'seconds',
} as const;
export type Cost = keyof typeof COST_NAMES;

/**
 * What a run had spent when its evaluated reward first was at least `target`, on the line between the evaluations
 * around it; null if it never was.
 */
export function costToReach(points: readonly RunPoint[], target: number, cost: Cost): number | null {
  const at = points.findIndex((p) => p.reward >= target);
  if (at < 0) return null;
  const [before, after] = [points[at - 1], points[at]!];
  if (!before) return after[cost];
  const share = (target - before.reward) / (after.reward - before.reward);
  return before[cost] + share * (after[cost] - before[cost]);
}

/** What a reward costs an entry. */
export interface Reach {
  /** Mean over the seeds that reached it; null if none did. */
  readonly cost: number | null;
  readonly reached: number;
  readonly seeds: number;
}

export function reachOf(runs: readonly (readonly RunPoint[])[], target: number, cost: Cost): Reach {
  const costs = runs.map((points) => costToReach(points, target, cost)).filter((c) => c !== null);
  return { cost: costs.length === 0 ? null : spreadOf(costs).mean, reached: costs.length, seeds: runs.length };
}

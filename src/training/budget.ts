/** @file How much of what a run may spend is spent: when it ends, and when it is evaluated. */
import type { RunConfig } from './config.js';

/** What a run has spent so far. */
export interface Spent {
  /** Updates. */
  readonly step: number;
  readonly rewardQueries: number;
  /** Of training alone. */
  readonly seconds: number;
}

type Limits = Pick<RunConfig, 'steps' | 'budget'>;

/** The share that is used up of whatever runs out first; the run is over at 1. */
export function spentShare({ steps, budget }: Limits, { step, rewardQueries, seconds }: Spent): number {
  const shares = [step / steps, rewardQueries / (budget.rewardQueries ?? Infinity), seconds / (budget.seconds ?? Infinity)];
  return Math.max(...shares);
}

/** Whether the update that took a run from `before` to `after` is followed by an evaluation; the last one always is. */
export function evaluationDue(config: Limits & Pick<RunConfig, 'evaluation'>, before: Spent, after: Spent): boolean {
  const { times, every } = config.evaluation;
  const share = spentShare(config, after);
  if (share >= 1) return true;
  if (times === null) return every > 0 && after.step % every === 0;
  // A hair of tolerance: 3 · (1/3) may be below 1.
  const passed = (s: number): number => Math.floor(s * times + 1e-9);
  return passed(share) > passed(spentShare(config, before));
}

/**
 * @file The guard against reward hacking: when to stop a run, and which evaluation is its best. Pure functions of the
 * evaluations so far.
 *
 * A tuned model that only pleases its reward shows it in one of two ways: an independent judge likes its images less
 * while the reward still rises, or the images of one prompt become all alike. Either stops the run.
 */

/** One evaluation, of images made from the same prompts and seeds each time. */
export interface Evaluation {
  /** Updates done. */
  readonly step: number;
  /** Mean reward that is trained on. */
  readonly reward: number;
  /** Of a weighted sum: the means of its rewards, as they are, by name. */
  readonly rewardParts?: Readonly<Record<string, number>>;
  /** Mean of a reward that is not trained on, from an independent judge. */
  readonly heldOutReward?: number;
  /** Standard error of that mean: the deviation between images over √(their number). */
  readonly heldOutError?: number;
  /** Mean pairwise feature distance within a prompt. */
  readonly diversity: number;
  /** Fréchet distance to the base model's samples. */
  readonly frechet: number;
}

export interface GuardOptions {
  /** Smallest diversity, as a share of the base model's. */
  minDiversity: number;
  /** A held-out reward counts as lower than another when it is so by more than this many standard errors of the difference. */
  tolerance: number;
  /** Consecutive evaluations that must agree before the run is stopped; one may be chance. */
  patience: number;
  /** Largest Fréchet distance to the base model's samples; null: no limit, since its scale depends on the features. */
  maxFrechet: number | null;
}

/** Half the diversity: the direct methods, unguarded, keep about a fifth (arXiv 2412.07775, Table 1). */
export const GUARD_DEFAULTS: GuardOptions = { minDiversity: 0.5, tolerance: 2, patience: 2, maxFrechet: null };

export type GuardRule = 'diversity' | 'held-out' | 'frechet';

export interface Verdict {
  /** Why the run should stop now, or null to go on. */
  readonly stop: { readonly rule: GuardRule; readonly reason: string } | null;
  /** Index of the best evaluation so far; 0, the base model's, if nothing beats it. */
  readonly best: number;
}

/**
 * Judges a run.
 *
 * Best: of the evaluations with at least `minDiversity` of the base's diversity (and at most `maxFrechet`), and with a
 * held-out reward that is not lower than the highest before, the one with the highest reward; the earliest among equals.
 * What a judge likes is not what was asked for: it only tells whether the reward still means it.
 *
 * Stop, when the last `patience` evaluations all
 * - `diversity`: have less than `minDiversity` of the base's diversity; or
 * - `held-out`: have a lower held-out reward than the highest so far, though not a lower reward; or
 * - `frechet`: lie farther than `maxFrechet` from the base model's samples.
 *
 * @param history all evaluations in order, the base model's (step 0) first
 * @throws Error for an empty history
 */
export function judge(history: readonly Evaluation[], options: GuardOptions = GUARD_DEFAULTS): Verdict {
  const base = history[0];
  if (!base) throw new Error('the guard needs the base model\'s evaluation first');
  const { minDiversity, tolerance, patience, maxFrechet } = options;
  const collapsed = (e: Evaluation): boolean => e.diversity < minDiversity * base.diversity;
  const strayed = (e: Evaluation): boolean => maxFrechet !== null && e.frechet > maxFrechet;
  const lower = (e: Evaluation, than: Evaluation): boolean => e.heldOutReward !== undefined && than.heldOutReward !== undefined
    && than.heldOutReward - e.heldOutReward > tolerance * Math.hypot(than.heldOutError ?? 0, e.heldOutError ?? 0);

  let best = 0;
  let top = base; // to the judge
  for (const [i, e] of history.entries()) {
    if (collapsed(e) || strayed(e)) continue;
    if (e.reward > history[best]!.reward && !lower(e, top)) best = i;
    if ((e.heldOutReward ?? 0) > (top.heldOutReward ?? 0)) top = e;
  }

  const fallen = (e: Evaluation): boolean => e.reward >= top.reward && lower(e, top);
  // The base model's own evaluation is no sign of anything.
  const recent = history.slice(1).slice(-patience);
  const agree = (test: (e: Evaluation) => boolean): boolean => recent.length === patience && recent.every(test);
  const last = history.at(-1)!;
  const stopped = (rule: GuardRule, what: string): Verdict =>
    ({ stop: { rule, reason: `in ${patience} evaluations in a row, at step ${last.step} ${what}` }, best });

  if (agree(collapsed)) {
    const kept = Math.round((100 * last.diversity) / base.diversity);
    return stopped('diversity', `diversity is ${kept}% of the base model's, below ${Math.round(100 * minDiversity)}%`);
  }
  if (agree(fallen)) {
    return stopped('held-out', `the held-out reward is ${shown(last.heldOutReward!)}, down from `
      + `${shown(top.heldOutReward!)} at step ${top.step}, while the reward rose from ${shown(top.reward)} `
      + `to ${shown(last.reward)}`);
  }
  if (agree(strayed)) {
    const distance = shown(last.frechet);
    return stopped('frechet', `the Fréchet distance to the base model's samples is ${distance}, above ${maxFrechet}`);
  }
  return { stop: null, best };
}

const shown = (x: number): string => String(Number(x.toPrecision(4)));

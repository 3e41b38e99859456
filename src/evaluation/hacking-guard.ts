/**
 * @file The guard against reward hacking: when to stop a run, and which evaluation is its best. Pure functions of the
 * evaluations so far.
 *
 * A tuned model that only pleases its reward shows it in one of two ways: an independent judge likes its images less
 * while the reward still rises, or the images of one prompt become all alike. Either stops the run.
 */

import { pairedDifference } from './evaluation.js';
import type { Difference, Evaluation } from './evaluation.js';
import { surelyBelow } from './false-stops.js';

/** An evaluation as the guard weighs it. */
export type Judged = Evaluation & {
  /** Of each image, in the order that all evaluations have: two judgements are compared image by image. */
  readonly heldOutScores?: readonly number[] | undefined;
  /** Of each prompt that has two images or more, in the order that all evaluations have; their mean is `diversity`. */
  readonly diversities?: readonly number[] | undefined;
  /** Of each image, what the rewards gave that are constrained. */
  readonly constraintScores?: Readonly<Record<string, readonly number[]>> | undefined;
  /** By how much each falls short of its bound, image by image: above 0 where the constraint is broken. */
  readonly shortfalls?: Readonly<Record<string, Difference>> | undefined;
};

export interface GuardOptions {
  /** Smallest diversity, as a share of the base model's. */
  minDiversity: number;
  /**
   * Largest chance, over the whole run, of stopping one that does nothing wrong: whose held-out reward fell below none
   * of before, and whose diversity is above its limit, but for the noise of the images (src/evaluation/false-stops.ts).
   */
  falseStops: number;
  /**
   * A held-out reward counts as lower than another when it is so by more than this many standard errors of the
   * difference, image by image; null: by as many as `falseStops` asks for, which are more the later it is.
   */
  tolerance: number | null;
  /** Consecutive evaluations that must agree before the run is stopped; one may be chance. */
  patience: number;
  /** Largest Fréchet distance to the base model's samples; null: no limit, since its scale depends on the features. */
  maxFrechet: number | null;
}

/** Half the diversity: the direct methods, unguarded, keep about a fifth (arXiv 2412.07775, Table 1). */
export const GUARD_DEFAULTS: GuardOptions = { minDiversity: 0.5, falseStops: 0.05, tolerance: null, patience: 2, maxFrechet: null };

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
 * One that keeps all constraints comes before one that does not.
 * What a judge likes is not what was asked for: it only tells whether the reward still means it.
 *
 * Stop, when the last `patience` evaluations all
 * - `diversity`: have less than `minDiversity` of the base's diversity, prompt by prompt beyond what noise makes; or
 * - `held-out`: have a lower held-out reward than the highest so far, though not a lower reward; or
 * - `frechet`: lie farther than `maxFrechet` from the base model's samples, a limit whose noise is not known.
 *
 * @param history all evaluations in order, the base model's (step 0) first
 * @throws Error for an empty history
 */
export function guardVerdict(history: readonly Judged[], options: GuardOptions = GUARD_DEFAULTS): Verdict {
  const base = history[0];
  if (!base) throw new Error('the guard needs the base model\'s evaluation first');
  const { minDiversity, tolerance, patience, maxFrechet } = options;
  const rules = [base.heldOutReward, base.diversity].filter((measure) => measure !== undefined).length;
  /** Whether it is no chance at the ith evaluation; each rule has its share of the run's. */
  const below = (difference: Difference, count: number, look: number, comparisons: number): boolean =>
    surelyBelow(difference, count, { look, patience, comparisons }, options.falseStops / rules);
  // What was not measured breaks no rule.
  const collapsed = (e: Evaluation): boolean =>
    e.diversity !== undefined && base.diversity !== undefined && e.diversity < minDiversity * base.diversity;
  const strayed = (e: Evaluation): boolean => maxFrechet !== null && e.frechet !== undefined && e.frechet > maxFrechet;
  // Whichever of the i evaluations before it is the highest: each might have been.
  const lower = (e: Judged, i: number, than: Judged): boolean => {
    if (e.heldOutReward === undefined || than.heldOutReward === undefined || i === 0) return false;
    const { difference, count } = change(than, e);
    return tolerance === null ? below(difference, count, i, i) : -difference.mean > tolerance * (difference.error ?? 0);
  };

  let best = 0;
  let top: Judged = base; // to the judge
  for (const [i, e] of history.entries()) {
    if (collapsed(e) || strayed(e)) continue;
    const other = history[best]!;
    const better = brokenConstraints(e).length === brokenConstraints(other).length ? e.reward > other.reward
      : brokenConstraints(e).length < brokenConstraints(other).length;
    if (better && !lower(e, i, top)) best = i;
    if ((e.heldOutReward ?? -Infinity) > (top.heldOutReward ?? -Infinity)) top = e;
  }

  const fallen = (e: Judged, i: number): boolean => e.reward >= top.reward && lower(e, i, top);
  const surelyCollapsed = (e: Judged, i: number): boolean => {
    if (!collapsed(e) || !e.diversities || !base.diversities || e.diversities.length < 2) return collapsed(e);
    return below(pairedDifference(base.diversities.map((d) => minDiversity * d), e.diversities), e.diversities.length, i, 1);
  };
  // The base model's own evaluation is no sign of anything.
  const recent = [...history.entries()].slice(1).slice(-patience);
  const agree = (test: (e: Judged, i: number) => boolean): boolean => recent.length === patience && recent.every(([i, e]) => test(e, i));
  const last = history.at(-1)!;
  const stopped = (rule: GuardRule, what: string): Verdict =>
    ({ stop: { rule, reason: `in ${patience} evaluations in a row, at step ${last.step} ${what}` }, best });

  if (agree(surelyCollapsed)) {
    const kept = Math.round((100 * last.diversity!) / base.diversity!);
    return stopped('diversity', `diversity is ${kept}% of the base model's, below ${Math.round(100 * minDiversity)}%`);
  }
  if (agree(fallen)) {
    return stopped('held-out', `the held-out reward is ${shown(last.heldOutReward!)}, down from `
      + `${shown(top.heldOutReward!)} at step ${top.step}, while the reward rose from ${shown(top.reward)} `
      + `to ${shown(last.reward)}`);
  }
  if (agree(strayed)) {
    const distance = shown(last.frechet!);
    return stopped('frechet', `the Fréchet distance to the base model's samples is ${distance}, above ${maxFrechet}`);
  }
  return { stop: null, best };
}

/** Standard errors by which a constraint may seem broken: two of a hundred kept ones would be taken for broken. */
const CONSTRAINT_TOLERANCE = 2;

/** Constraints that an evaluation breaks by more than chance, by name. */
export const brokenConstraints = ({ shortfalls = {} }: Judged): string[] =>
  Object.entries(shortfalls).flatMap(([name, { mean, error }]) => (mean > CONSTRAINT_TOLERANCE * (error ?? 0) ? [name] : []));

const shown = (x: number): string => String(Number(x.toPrecision(4)));

/** What the judge thinks of `b` less what it thinks of `a`. The same images are judged each time: what they have in common cancels. */
function change(a: Judged, b: Judged): { difference: Difference; count: number } {
  if (a.heldOutScores && b.heldOutScores) return { difference: pairedDifference(a.heldOutScores, b.heldOutScores), count: a.heldOutScores.length };
  // As of independent images, of which there are many.
  return { difference: { mean: b.heldOutReward! - a.heldOutReward!, error: Math.hypot(a.heldOutError ?? 0, b.heldOutError ?? 0) }, count: 1000 };
}

/** What an evaluation measures beside the reward. */
export interface Measures {
  /** Name of the held-out reward; null: none. */
  readonly heldOut: string | null;
  /** Whether there are features, in which diversity and Fréchet distance are measured. */
  readonly features: boolean;
  /** Rewards that are constrained, by name. */
  readonly constrained?: readonly string[];
}

/** Which checkpoint is the best, in a sentence, by the rules that the measures allow. */
export function bestText({ heldOut, features, constrained = [] }: Measures, { minDiversity, tolerance, maxFrechet }: GuardOptions): string {
  const rules = [
    ...(constrained.length > 0 ? [`that keep the constraint on ${constrained.join(' and ')} within chance (or fewest break it, if none does)`] : []),
    ...(features ? [`that kept at least ${Math.round(100 * minDiversity)}% of the base model's diversity`] : []),
    ...(features && maxFrechet !== null ? [`that lie within a Fréchet distance of ${maxFrechet} of its samples`] : []),
    ...(heldOut === null ? [] : [`whose held-out reward is not lower than the highest before by more than ${tolerance === null
      ? 'chance makes it' : `${tolerance} standard errors of the difference`}, image by image`]),
  ];
  return rules.length === 0 ? 'The highest reward.' : `The highest reward among the checkpoints ${rules.join(' and ')}.`;
}

/** How likely it is that they stop a run that does nothing wrong, where that is known. */
function falseStopText({ heldOut, features }: Measures, { enabled, falseStops, tolerance, maxFrechet }: GuardOptions & { readonly enabled: boolean }): string {
  if (!enabled) return '';
  const unknown = [...(heldOut !== null && tolerance !== null ? ['the judge by a fixed tolerance'] : []), ...(features && maxFrechet !== null ? ['the Fréchet distance'] : [])];
  const known = features || (heldOut !== null && tolerance === null);
  return `${known ? `; chance that it stops a run that does nothing wrong: at most ${Number((100 * falseStops).toPrecision(3))}%` : ''}${
    unknown.length === 0 ? '' : `; how likely ${unknown.join(' and ')} is to stop one is not known`}`;
}

/** Which rules guard a run, in a sentence; and what the others want, if any are idle for lack of a measure. */
export function guardText(measures: Measures, options: GuardOptions & { readonly enabled: boolean }): { active: string; missing: string | null } {
  const { heldOut, features } = measures;
  const rules = [
    ...(features ? [`diversity (at least ${Math.round(100 * options.minDiversity)}% of the base model's)`] : []),
    ...(heldOut === null ? [] : [`held-out judge ${heldOut}${options.tolerance === null ? '' : ` (tolerance ${options.tolerance} standard errors)`}`]),
    ...(features && options.maxFrechet !== null ? [`Fréchet distance (at most ${options.maxFrechet})`] : []),
  ];
  const missing = [
    ...(heldOut === null ? ['a held-out judge, --set evaluation.heldOut=REWARD'] : []),
    ...(features ? [] : ['diversity and Fréchet distance, --set evaluation.features=CLIP_FOLDER']),
  ];
  const stops = options.enabled ? '' : ', which choose the best checkpoint but do not stop the run (guard.enabled is false)';
  return {
    active: rules.length === 0 ? 'guard against reward hacking: no rule is active; the best checkpoint is the one with the highest reward'
      : `guard against reward hacking by ${rules.join(', ')}${stops}${falseStopText(measures, options)}`,
    missing: missing.length === 0 ? null : `not measured: ${missing.join('; ')}`,
  };
}

/** @file All runs of a comparison put together: the numbers that the report, the tables and the claims are made of. */
import type { Changes, SetFacts } from '../evaluation/compared.js';
import type { Evaluation } from '../evaluation/evaluation.js';
import { MEASURES as MEASURED } from '../evaluation/measures.js';
import type { MeasureName } from '../evaluation/measures.js';
import type { RunConfig } from '../training/config.js';
import type { Comparison } from './config.js';
import { entriesOf } from './config.js';
import type { RunPoint, RunRecord } from './run-record.js';
import { alignedPoints, COST_NAMES, reachOf, spreadOf } from './statistics.js';
import type { Cost, Reach, Spread } from './statistics.js';

/** Columns of the table, by the name they have in `results.json`. */
const SPENT = ['step', 'rewardQueries', 'denoiserCalls', 'seconds', 'peakBytes'] as const;
export type Measure = MeasureName | (typeof SPENT)[number];
export const MEASURES: readonly Measure[] = [...MEASURED.map(({ name }) => name), ...SPENT];

/** An entry at one of its checkpoints, over seeds. */
export type Measures = Readonly<Partial<Record<Measure, Spread>>>;

export interface EntryResult {
  readonly name: string;
  /** Seeds whose runs are finished. */
  readonly seeds: readonly number[];
  /** At the last evaluation. */
  readonly last: Measures;
  /** At the best evaluation, which each run chose by the guard's rule. */
  readonly best: Measures;
  /** That one on prompts and noise that did not choose it; of the base model too. */
  readonly reported: Measures;
  /** How that one differs from the base model, prompt by prompt, the means over seeds; null where a run does not tell it. */
  readonly changes: Changes | null;
  /** Means over seeds at each evaluation. */
  readonly curve: readonly Measures[];
  /** The best checkpoint's LoRA at each strength, the means over seeds. */
  readonly sweep: readonly (Measures & { readonly strength: number })[];
}

/** What the numbers are numbers of. */
export type Ground = Pick<RunConfig, 'model' | 'rewards' | 'prompts' | 'samplingSteps' | 'guidance' | 'evaluation' | 'guard'>;

export interface Failure {
  readonly entry: string;
  readonly seed: number;
  readonly reason: string;
}

/** What each trained entry pays for a reward. */
export interface Price {
  readonly target: number;
  readonly by: Readonly<Record<string, Readonly<Record<Cost, Reach>>>>;
}

export interface Results {
  readonly title: string;
  /** What all runs share, in full. */
  readonly common: Ground;
  readonly entries: readonly EntryResult[];
  /** What `reported` is of; null if the runs measured nothing of the kind. */
  readonly reportedOn: SetFacts | null;
  /** For the threshold; null if no entry gained anything. */
  readonly price: Price | null;
  /** Reward queries of each trained entry (first key) for the final reward of each one that gained (second key). */
  readonly queriesForFinal: Readonly<Record<string, Readonly<Record<string, Reach>>>>;
  /**
   * Fréchet distance between two sets of the base model's own samples of other noise, of the evaluation's size: what
   * independent noise alone makes. Tuned models share their noise with the base model's set.
   */
  readonly independentFrechet: number | null;
  readonly failures: readonly Failure[];
  readonly missing: number;
  readonly comparison: Comparison;
}

function measuresOf(points: readonly (Evaluation & Partial<RunPoint>)[], peaks: readonly number[]): Measures {
  const of = (name: Measure): [Measure, Spread][] => {
    const values = name === 'peakBytes' ? peaks : points.map((p) => p[name]);
    return values.length === 0 || values.some((v) => v === undefined) ? [] : [[name, spreadOf(values as number[])]];
  };
  return Object.fromEntries(MEASURES.flatMap(of));
}

/** The means over seeds of what changed at each prompt. */
function changesOf(runs: readonly RunRecord[]): Changes | null {
  const all = runs.map((r) => r.reported[0]?.changes);
  if (all.length === 0 || all.some((c) => !c || c.gain.length !== all[0]!.gain.length)) return null;
  const mean = (of: (c: Changes) => readonly number[] | undefined): number[] | undefined => {
    const lists = all.map((c) => of(c!));
    return lists.some((l) => !l) ? undefined : lists[0]!.map((_, p) => lists.reduce((sum, l) => sum + l![p]!, 0) / lists.length);
  };
  return { gain: mean((c) => c.gain)!, wins: mean((c) => c.wins), heldOut: mean((c) => c.heldOut), diversity: mean((c) => c.diversity) };
}

/** @param reported where nothing chose them */
function entryResult(name: string, runs: readonly RunRecord[], reported: readonly Evaluation[]): EntryResult {
  const peaks = runs.map((r) => r.peakBytes);
  const strengths = (runs[0]?.sweep ?? []).map((s) => s.strength);
  return {
    name,
    seeds: runs.map((r) => r.seed),
    last: measuresOf(runs.map((r) => r.points.at(-1)!), peaks),
    best: measuresOf(runs.map((r) => r.points[r.best]!), peaks),
    reported: measuresOf(reported, []),
    changes: changesOf(runs),
    curve: alignedPoints(runs.map((r) => r.points)).map((points) => measuresOf(points, [])),
    sweep: strengths.map((strength) => {
      return { strength, ...measuresOf(runs.flatMap((r) => r.sweep.filter((s) => s.strength === strength)), []) };
    }),
  };
}

const COSTS = Object.keys(COST_NAMES) as Cost[];

const pricesOf = (runs: readonly (readonly RunPoint[])[], target: number): Record<Cost, Reach> =>
  Object.fromEntries(COSTS.map((c) => [c, reachOf(runs, target, c)])) as Record<Cost, Reach>;

/** Puts finished runs together. */
export function gather(
  comparison: Comparison, runs: readonly RunRecord[],
  rest: Pick<Results, 'common' | 'independentFrechet' | 'failures' | 'missing'>,
): Results {
  const of = (name: string): RunRecord[] => runs.filter((r) => r.entry === name).toSorted((a, b) => a.seed - b.seed);
  // Every run that trains measures the base model beside its own, on the same prompts and noise.
  const headline = runs.flatMap((r) => r.reported.slice(0, 1));
  const reported = (name: string): Evaluation[] => (name === 'base' ? headline.slice(0, 1).map((c) => c.base)
    : of(name).flatMap((r) => r.reported.slice(0, 1).map((c) => c.tuned)));
  const entries = entriesOf(comparison).filter((name) => of(name).length > 0)
    .map((name) => entryResult(name, of(name), reported(name)));
  const trained = entries.filter((e) => Object.hasOwn(comparison.entries, e.name));
  const curves = new Map(trained.map((e) => [e.name, of(e.name).map((r) => r.points)]));
  const final = (e: EntryResult): number => e.last.reward!.mean;
  const gained = trained.filter((e) => final(e) > e.curve[0]!.reward!.mean);
  const target = comparison.threshold ?? (gained.length === 0 ? null : Math.min(...gained.map(final)));
  const perEntry = <T>(make: (points: readonly (readonly RunPoint[])[]) => T): Record<string, T> =>
    Object.fromEntries([...curves].map(([name, points]) => [name, make(points)]));
  return {
    title: comparison.title,
    entries,
    reportedOn: headline[0]?.on ?? null,
    price: target === null ? null : { target, by: perEntry((points) => pricesOf(points, target)) },
    queriesForFinal: perEntry((points) =>
      Object.fromEntries(gained.map((e) => [e.name, reachOf(points, final(e), 'rewardQueries')]))),
    ...rest,
    comparison,
  };
}

/**
 * @file The candidates of a search and the account that is kept for each prompt. A candidate knows the noise it was
 * made of, so any of them can be made again, and none depends, but for rounding, on what it was computed together with.
 */
import type { Counts } from '../methods/counted.js';
import type { Sampling } from '../methods/task.js';
import { sampleSize } from '../methods/task.js';
import { normal } from '../random/random.js';
import { combine } from '../schedulers/linear.js';

/** Where normal numbers come from: draw i is `normal({ seed, stream, step: i }, item)`. */
export interface NoiseKey {
  readonly seed: number;
  readonly stream: string;
  readonly item: number;
}

/** A query of the reward. */
export interface TraceEntry {
  readonly round: number;
  /** Number of the candidate; a prompt's candidates are counted from 0. */
  readonly candidate: number;
  /** The candidate it was made of; null if it comes from fresh noise. */
  readonly parent: number | null;
  /** Seed of the noise that it, or the first of its line, started from: that of `attune sample`. */
  readonly seed: number;
  /** Noise that was added to the parent; null if it comes from fresh noise. */
  readonly noise: NoiseKey | null;
  /** Sampling steps behind it; before the last one its clean prediction was scored. */
  readonly steps: number;
  readonly score: number;
  /** What the prompt had cost when this score was known. */
  readonly denoiserCalls: number;
  readonly rewardQueries: number;
}

/** A finished sample with its score. */
export interface Winner {
  readonly candidate: Candidate;
  readonly score: number;
}

/** The account of one prompt; candidates write to it. */
export interface Ledger {
  readonly prompt: string;
  /** Number of the prompt in the whole work: with the task's seed it decides all of the prompt's noise. */
  readonly item: number;
  readonly counts: Counts;
  readonly trace: TraceEntry[];
  /** Candidates made so far. */
  made: number;
  /** The best finished sample so far; of equals the first. */
  best: Winner | null;
}

export interface Candidate {
  readonly ledger: Ledger;
  readonly number: number;
  readonly parent: number | null;
  readonly seed: number;
  readonly noise: NoiseKey | null;
  /** Its latents, as far as they are. */
  readonly x: Float32Array; // [C·h·w]
  /** x̂0 of the last step taken, if any was. */
  readonly clean: Float32Array | null; // [C·h·w]
  /** What stochastic steps draw from: draw i + 1 in step i. */
  readonly path: NoiseKey;
  /** Denoiser calls that are not in the account yet. */
  readonly calls: number;
}

export function openLedger(prompt: string, item: number): Ledger {
  return { prompt, item, counts: { rewardQueries: 0, denoiserCalls: 0 }, trace: [], made: 0, best: null };
}

/** Numbers of a draw. */
export function draw({ seed, stream, item }: NoiseKey, index: number, count: number): Float32Array {
  return normal({ seed, stream, step: index }, item, count);
}

/** Seeds between a prompt's fresh noises: room for the other prompts, and easy to read. */
export const SEED_STRIDE = 1_000_000;

/**
 * A candidate that starts from fresh noise: from what `attune sample` starts from at its seed, which is the task's plus
 * the prompt's number plus a million for each earlier fresh noise. So the first is what comes without a search.
 */
export function fresh(task: Sampling, ledger: Ledger, index: number): Candidate {
  const seed = task.seed + ledger.item + index * SEED_STRIDE;
  const path = { seed, stream: 'sample', item: 0 };
  const x = combine([task.plan.initialStd, draw(path, 0, sampleSize(task))]);
  return { ledger, number: ledger.made++, parent: null, seed, noise: null, x, clean: null, path, calls: 0 };
}

/** A candidate made of another one and of noise. @param path default: the parent's */
export function child(parent: Candidate, x: Float32Array, noise: NoiseKey, path = parent.path): Candidate {
  const { ledger, seed } = parent;
  return { ledger, number: ledger.made++, parent: parent.number, seed, noise, x, clean: null, path, calls: 0 };
}

/** Puts the denoiser calls made for a candidate into its prompt's account. */
export function bookCalls<C extends Candidate>(candidate: C): C {
  candidate.ledger.counts.denoiserCalls += candidate.calls;
  return { ...candidate, calls: 0 };
}

/** Puts a score into the account. @param finished whether the sample itself was scored, not its clean prediction */
export function bookScore(candidate: Candidate, score: number, round: number, steps: number, finished: boolean): void {
  const { ledger, number, parent, seed, noise } = candidate;
  const { counts, trace, best } = ledger;
  counts.rewardQueries += 1;
  trace.push({ round, candidate: number, parent, seed, noise, steps, score, ...counts });
  if (finished && (best === null || score > best.score)) ledger.best = { candidate, score };
}

/** @file What a search is: it spends network calls and reward queries on a prompt to find a better sample. */
import type { z } from 'zod';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { sampleSize } from '../methods/task.js';
import type { Counts } from '../methods/counted.js';
import type { Plan } from '../schedulers/plan.js';
import { openLedger } from './candidate.js';
import type { Ledger, TraceEntry } from './candidate.js';
import type { Explorer } from './explorer.js';

/** The prompts to search for; each one's result depends on the task's seed, its number and its text alone. */
export interface SearchRequest {
  readonly prompts: readonly string[];
  /** Numbers of the prompts in the whole work. */
  readonly items: readonly number[];
}

export interface SearchResult {
  /** The best finished sample of each prompt, [prompts, C, h, w]. */
  readonly samples: HostTensor;
  readonly scores: Float32Array; // [prompts]
  /** What each of these is, in its prompt's trace. */
  readonly winners: readonly TraceEntry[];
  /** Every query of each prompt, in order. */
  readonly traces: readonly (readonly TraceEntry[])[];
  /** What all prompts cost together. */
  readonly counts: Counts;
}

export interface Search<O = unknown> {
  /** As on the command line. */
  readonly name: string;
  /** One line for lists. */
  readonly summary: string;
  /** Authors, year, arXiv number. */
  readonly paper: string;
  readonly options: z.ZodType<O> & { readonly shape: Readonly<Record<string, unknown>> };
  /** The option that a larger budget raises: a whole number from 1, in which the cost is linear. */
  readonly effort: keyof O & string;
  /** Candidates of one prompt that can be worked on at the same time. */
  width(options: O): number;
  /**
   * What one prompt costs at most; exactly so unless an option makes it depend on scores. A sample's step counts as one
   * denoiser call here.
   *
   * @throws SamplingError if the search is not possible with this plan
   */
  cost(options: O, plan: Plan): Counts;
  run(explorer: Explorer, options: O, request: SearchRequest): Promise<SearchResult>;
}

/** Accounts for the prompts of a request. */
export function openLedgers({ prompts, items }: SearchRequest): Ledger[] {
  return prompts.map((prompt, i) => openLedger(prompt, items[i]!));
}

/** The end of a search: every prompt's best. */
export function resultOf({ task }: Explorer, ledgers: readonly Ledger[]): SearchResult {
  const best = ledgers.map((ledger) => ledger.best!);
  const size = sampleSize(task);
  const data = new Float32Array(ledgers.length * size);
  best.forEach(({ candidate }, i) => data.set(candidate.x, i * size));
  const total = (of: keyof Counts): number => ledgers.reduce((sum, { counts }) => sum + counts[of], 0);
  return {
    samples: host(data, [ledgers.length, ...task.sampleShape]),
    scores: Float32Array.from(best, ({ score }) => score),
    winners: ledgers.map(({ trace }, i) => trace.find((t) => t.candidate === best[i]!.candidate.number)!),
    traces: ledgers.map(({ trace }) => trace),
    counts: { rewardQueries: total('rewardQueries'), denoiserCalls: total('denoiserCalls') },
  };
}

/**
 * The options with the largest effort whose cost is within a budget of denoiser calls a prompt, or null if the smallest
 * effort is above it.
 */
export function withinBudget<O>(search: Search<O>, options: O, plan: Plan, calls: number): O | null {
  const at = (effort: number): O => ({ ...options, [search.effort]: effort });
  const [first, second] = [1, 2].map((effort) => search.cost(at(effort), plan).denoiserCalls) as [number, number];
  return calls < first ? null : at(1 + Math.floor((calls - first) / (second - first)));
}

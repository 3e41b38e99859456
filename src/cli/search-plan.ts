/** @file From the flags of `attune search` to what is computed; mistakes are found here, before the work begins. */
import type { Pipeline } from '../models/pipeline.js';
import { isGuided } from '../models/conditions.js';
import { defaultBatch } from '../sampling/defaults.js';
import type { LoraUse } from '../sampling/lora-apply.js';
import type { Plan } from '../schedulers/plan.js';
import { SEED_STRIDE } from '../search/candidate.js';
import { findSearch } from '../search/index.js';
import { withinBudget } from '../search/search.js';
import type { Search } from '../search/search.js';
import { ConfigError } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import { problemOf } from '../formats/plain-issues.js';
import { parseAssignment } from '../training/config.js';
import type { Progress } from '../runs/progress.js';
import { UsageError } from './arguments.js';
import { samplingSettings } from './sampling-options.js';
import type { SamplingFlags, SamplingSettings } from './sampling-options.js';

export interface SearchFlags extends SamplingFlags {
  search: string;
  reward?: string[];
  set?: string[];
  budget?: number;
  workers: number;
}

type AnySearch = Search<Record<string, unknown>>;

/** Everything that decides what is computed. */
export interface SearchPlan extends SamplingSettings {
  readonly prompts: readonly string[];
  readonly search: AnySearch;
  readonly options: Readonly<Record<string, unknown>>;
  readonly seed: number;
  /** Denoiser calls that one prompt takes at most. */
  readonly callsPerPrompt: number;
  /** Candidates computed together. */
  readonly batch: number;
  /** Prompts searched for together. */
  readonly group: number;
  /** Threads that each compute another batch. */
  readonly workers: number;
}

/**
 * The search with its options, from `--set search.…`.
 *
 * @throws ConfigError for settings that it does not have, or that are out of range; UsageError if they are at odds
 */
export function chosenSearch({ search: name, set = [], budget }: SearchFlags): Pick<SearchPlan, 'search' | 'options'> {
  const search = findSearch(name) as unknown as AnySearch;
  const known = Object.keys(search.options.shape).map((key) => `search.${key}`);
  const given = Object.fromEntries(set.map(parseAssignment).map(([path, value]) => {
    if (known.includes(path)) return [path.slice('search.'.length), value];
    throw new ConfigError(`${name} has no setting "${path}". ${suggestion(path, known)}`);
  }));
  if (budget !== undefined && search.effort in given) {
    throw new UsageError(`--budget decides search.${search.effort}; give one of them`);
  }
  const parsed = search.options.safeParse(given);
  if (parsed.success) return { search, options: parsed.data };
  const { path, text } = problemOf(parsed.error, given, search.options);
  throw new ConfigError(`search.${path}: ${text} (search ${name})`);
}

/** The options with the effort that a budget of denoiser calls a prompt allows. */
function affordable(
  { search, options }: Pick<SearchPlan, 'search' | 'options'>, plan: Plan, callsPerStep: number, budget?: number,
): Readonly<Record<string, unknown>> {
  if (budget === undefined) return options;
  const chosen = withinBudget(search, options, plan, Math.floor(budget / callsPerStep));
  if (chosen) return chosen;
  const least = search.cost({ ...options, [search.effort]: 1 }, plan).denoiserCalls * callsPerStep;
  throw new UsageError(`--budget ${budget} is too small: ${search.name} takes at least ${least} denoiser calls`);
}

/** @throws UsageError, ConfigError or SamplingError if something cannot be done with this model */
export function planSearch(
  pipeline: Pipeline, prompts: readonly string[], flags: SearchFlags, progress: Progress, loras: readonly LoraUse[],
): SearchPlan {
  const chosen = chosenSearch(flags);
  const { search } = chosen;
  const { seed } = flags;
  const { workers, device } = flags;
  if (workers > 1 && device !== 'cpu') throw new UsageError(`--workers: ${device} computes one thing at a time; leave it out, or take --device cpu`);
  // Several threads that each take all cores would only fight.
  const settings = samplingSettings(pipeline, prompts, workers > 1 ? { ...flags, threads: flags.threads ?? 1 } : flags, progress, loras);
  const { plan, width, height } = settings;
  const callsPerStep = isGuided(pipeline, settings.guidance) ? 2 : 1;
  const options = affordable(chosen, plan, callsPerStep, flags.budget);
  const { denoiserCalls, rewardQueries } = search.cost(options, plan);
  const highest = Number.MAX_SAFE_INTEGER - prompts.length - rewardQueries * SEED_STRIDE;
  if (seed > highest) throw new UsageError(`--seed ${seed} leaves no seeds for this search; take at most ${highest}`);
  const candidates = search.width(options);
  const batch = flags.batch ?? defaultBatch(candidates * prompts.length, height, width);
  return {
    ...settings, prompts, search, options, seed,
    callsPerPrompt: denoiserCalls * callsPerStep,
    batch, workers, group: Math.max(1, Math.floor(workers * batch / candidates)),
  };
}

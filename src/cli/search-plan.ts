/** @file From the flags of `attune search` to what is computed; mistakes are found here, before the work begins. */
import { latentShape } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { suggestion } from '../rewards/nearest.js';
import type { CompileOptions } from '../runtime/compile.js';
import type { Device } from '../runtime/device.js';
import { cutPrompts, hasGuidanceInput } from '../sampling/conditions.js';
import { defaultBatch, defaultGuidance, defaultSize, defaultSteps } from '../sampling/defaults.js';
import { samplers } from '../schedulers/index.js';
import type { SamplerName } from '../schedulers/index.js';
import type { NoiseSchedule } from '../schedulers/noise-schedule.js';
import type { Plan } from '../schedulers/plan.js';
import { readSchedulerConfig } from '../schedulers/scheduler-config.js';
import { SEED_STRIDE } from '../search/candidate.js';
import { findSearch } from '../search/index.js';
import { withinBudget } from '../search/search.js';
import type { Search } from '../search/search.js';
import { ConfigError, parseAssignment } from '../training/config.js';
import type { Progress } from '../training/progress.js';
import { UsageError } from './arguments.js';
import type { LoraArgument } from './option-values.js';

export interface SearchFlags {
  model: string;
  like?: string;
  prompt?: string[];
  prompts?: string;
  negative: string;
  search: string;
  reward: string[];
  set: string[];
  budget?: number;
  seed: number;
  guidance?: number;
  sampler?: SamplerName;
  samplingSteps?: number;
  size?: [width: number, height: number];
  lora: LoraArgument[];
  out: string;
  batch?: number;
  device: Device;
  threads?: number;
  json?: boolean;
  quiet?: boolean;
}

type AnySearch = Search<Record<string, unknown>>;

/** Everything that decides what is computed. */
export interface SearchPlan {
  readonly prompts: readonly string[];
  readonly search: AnySearch;
  readonly options: Readonly<Record<string, unknown>>;
  readonly schedule: NoiseSchedule;
  readonly plan: Plan;
  readonly sampler: SamplerName;
  readonly steps: number;
  readonly guidance: number;
  readonly negativePrompt: string;
  readonly seed: number;
  readonly width: number;
  readonly height: number;
  /** Denoiser calls of one sample in one step. */
  readonly callsPerStep: number;
  /** Denoiser calls that one prompt takes at most. */
  readonly callsPerPrompt: number;
  /** Candidates computed together. */
  readonly batch: number;
  /** Prompts searched for together. */
  readonly group: number;
  readonly compile: Pick<CompileOptions, 'device' | 'threads'>;
}

/**
 * The search with its options, from `--set search.…`.
 *
 * @throws ConfigError for settings that it does not have, or that are out of range; UsageError if they are at odds
 */
export function chosenSearch({ search: name, set, budget }: SearchFlags): Pick<SearchPlan, 'search' | 'options'> {
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
  const issue = parsed.error.issues[0]!;
  throw new ConfigError(`search.${issue.path.join('.')}: ${issue.message} (search ${name})`);
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
  pipeline: Pipeline, prompts: readonly string[], flags: SearchFlags, progress: Progress,
): SearchPlan {
  const chosen = chosenSearch(flags);
  const { search } = chosen;
  const scheduler = readSchedulerConfig(pipeline.scheduler, `${pipeline.source}: scheduler_config.json`);
  const { schedule } = scheduler;
  const { sampler = scheduler.sampler, guidance = defaultGuidance(pipeline), negative: negativePrompt, seed } = flags;
  const { samplingSteps: steps = defaultSteps(sampler) } = flags;
  const plan = samplers[sampler].plan(schedule, steps, scheduler.options);
  const callsPerStep = guidance === 1 || hasGuidanceInput(pipeline) ? 1 : 2;
  const options = affordable(chosen, plan, callsPerStep, flags.budget);
  const { denoiserCalls, rewardQueries } = search.cost(options, plan);
  const highest = Number.MAX_SAFE_INTEGER - prompts.length - rewardQueries * SEED_STRIDE;
  if (seed > highest) throw new UsageError(`--seed ${seed} leaves no seeds for this search; take at most ${highest}`);
  const side = defaultSize(pipeline);
  const [width, height] = flags.size ?? [side, side];
  try {
    latentShape(pipeline, 1, height, width);
    for (const [prompt, cut] of cutPrompts(pipeline, [...prompts, negativePrompt])) {
      const room = pipeline.textEncoders[0]!.tokenizer.maxLength - 2;
      progress.warn(`"${prompt}" is longer than the model's ${room} tokens; this is cut off: "${cut}"`);
    }
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(error.message) : error;
  }
  const candidates = search.width(options);
  const batch = flags.batch ?? defaultBatch(candidates * prompts.length, height, width);
  return {
    prompts, search, options, schedule, plan, sampler, steps, guidance, negativePrompt, seed, width, height,
    callsPerStep, callsPerPrompt: denoiserCalls * callsPerStep,
    batch, group: Math.max(1, Math.floor(batch / candidates)),
    compile: { device: flags.device, ...(flags.threads !== undefined && { threads: flags.threads }) },
  };
}

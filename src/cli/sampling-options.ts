/** @file What the commands that make images share: their flags, the checks of them, stopping. */
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { latentShape } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import type { Execution } from '../runtime/compile.js';
import type { Device } from '../runtime/device.js';
import { checkPrompts } from '../sampling/check-prompts.js';
import { defaultGuidance, defaultSize, defaultSteps } from '../sampling/defaults.js';
import type { LoraUse } from '../sampling/lora-apply.js';
import { samplers } from '../schedulers/index.js';
import type { SamplerName } from '../schedulers/index.js';
import { samplerOptions } from '../schedulers/plan.js';
import type { Plan, SamplerOptions } from '../schedulers/plan.js';
import type { Process } from '../schedulers/process.js';
import { readSchedulerConfig, schedulerWarnings } from '../schedulers/scheduler-config.js';
import { lateStart } from '../schedulers/timesteps.js';
import type { Progress } from '../runs/progress.js';
import { loadPrompts } from '../training/prompts.js';
import { problemOf } from '../formats/plain-issues.js';
import { parseNumber, parseStrength, UsageError } from './arguments.js';
import { collect, collectLora, loraFlag, wholeNumber, withLoadFlags, withPrecisionFlag, withTextFlags } from './option-values.js';
import type { LoraArgument, ModelFlags } from './option-values.js';
import { stopSignal } from './supervise.js';

export interface SamplingFlags extends ModelFlags {
  model: string;
  prompt?: string[];
  prompts?: string;
  negative: string;
  seed: number;
  guidance?: number;
  sampler?: SamplerName;
  spacing?: SamplerOptions['spacing'];
  sigmas?: SamplerOptions['sigmas'];
  eta?: number;
  samplingSteps?: number;
  size?: [width: number, height: number];
  lora?: LoraArgument[];
  out: string;
  batch?: number;
  device: Device;
  threads?: number;
  json?: boolean;
  quiet?: boolean;
}

/** Reads `WIDTHxHEIGHT`, or one number for a square. */
function parseSize(text: string): [width: number, height: number] {
  const [, width, height = width] = /^(\d{1,5})(?:x(\d{1,5}))?$/i.exec(text.trim()) ?? [];
  if (!width || Number(width) === 0 || Number(height) === 0) throw new InvalidArgumentError(`"${text}" is no size; give 512 or 768x512 (width x height).`);
  return [Number(width), Number(height)];
}

/** Adds the flags that say what is to be made. */
export function withPromptFlags(command: Command): Command {
  return withPrecisionFlag(withTextFlags(withLoadFlags(command
    .option('--model <name>', 'bundled name, diffusers folder, single file (.safetensors, .ckpt) or hub id org/name[@revision]', 'emoji'))))
    .option('--prompt <text>', 'what to make; repeatable; "" for no prompt', collect)
    .addOption(new Option('--prompts <name>', 'a bundled list (attune list prompts), or a .txt, .csv, .tsv, .json, .jsonl or .parquet file')
      .conflicts('prompt'))
    .option('--negative <text>', 'what to stay away from', '');
}

/**
 * Adds the flags that say how it is made and where it goes.
 *
 * @param seed what the seed is the seed of
 * @param out default folder
 */
export function withSamplerFlags(command: Command, seed: string, out: string): Command {
  return command
    .option('--seed <n>', seed, wholeNumber(0), 0)
    .option('--guidance <x>', 'strength of the prompt; up to 1 is no guidance (default: the LoRA\'s, or the model family\'s)', parseStrength)
    .addOption(new Option('--sampler <name>', 'see attune list samplers (default: the model\'s own)')
      .choices(Object.keys(samplers)))
    .option('--sampling-steps <n>', 'sampler steps of an image (default: 20; of lcm and tcd 4)', wholeNumber(1))
    .addOption(new Option('--spacing <kind>', 'how steps are spread over time; trailing for Turbo models (default: the model\'s own)')
      .choices(samplerOptions.shape.spacing.unwrap().options))
    .addOption(new Option('--sigmas <kind>', 'noise levels of samplers that reckon in them (default: the model\'s own, or plain)')
      .choices(samplerOptions.shape.sigmas.unwrap().options))
    .option('--eta <x>', 'share of fresh noise, 0 to 1: of ddim (default: 0) and tcd (default: 0.3)', parseNumber)
    .option('--size <size>', 'side, or width x height, in pixels (default: the model\'s own)', parseSize)
    .option(...loraFlag('repeatable; scale 1 by default; also negative, above 1'), collectLora)
    .option('--out <dir>', 'folder to write to', out)
    .option('--batch <n>', 'images computed together (default: by their size)', wholeNumber(1))
    .addOption(new Option('--device <name>', 'where to compute').choices(['cpu', 'webgpu', 'cuda']).default('cpu'))
    .option('--threads <n>', 'threads of one operator (default: all cores)', wholeNumber(1))
    .option('--json', 'the result as JSON')
    .option('--quiet', 'no progress');
}

/** @throws UsageError for no prompt, and for what can be seen to be wrong before the model is loaded */
export async function chosenPrompts(flags: SamplingFlags): Promise<readonly string[]> {
  const { prompt = [], prompts } = flags;
  checkSamplerFlags(flags);
  const list = prompts === undefined ? prompt : (await loadPrompts(prompts)).prompts;
  if (list.length > 0) return list;
  throw new UsageError('no prompt; give --prompt TEXT ("" for none) or --prompts LIST (attune list prompts)');
}

export interface SamplingSettings {
  readonly sampler: SamplerName;
  readonly steps: number;
  readonly process: Process;
  readonly plan: Plan;
  readonly guidance: number;
  readonly negativePrompt: string;
  readonly width: number;
  readonly height: number;
  readonly compile: Execution;
}

/** Flags of a sampler that is not named yet, since the model names it, must suit one of them. @throws UsageError */
function checkSamplerFlags(flags: SamplingFlags): void {
  const names = flags.sampler ? [flags.sampler] : Object.keys(samplers) as SamplerName[];
  let first: unknown;
  for (const name of names) {
    try {
      samplerFlags(name, flags);
      return;
    } catch (error) {
      // What is out of range says more than what another sampler does not have.
      if (!first || /and must be/.test(String(error))) first = error;
    }
  }
  throw first;
}

/**
 * What flags say of a sampler.
 *
 * @throws UsageError for what it does not have, or out of range
 */
function samplerFlags(sampler: SamplerName, flags: SamplingFlags): SamplerOptions {
  const { spacing, sigmas, eta } = flags;
  const given = { ...(spacing && { spacing }), ...(sigmas && { sigmas }), ...(eta !== undefined && { eta }) };
  const allowed = samplers[sampler].options;
  const stranger = Object.keys(given).find((key) => !Object.hasOwn(allowed.shape, key));
  if (stranger !== undefined) {
    const others = Object.entries(samplers).filter(([, { options }]) => Object.hasOwn(options.shape, stranger));
    throw new UsageError(`--${stranger} is nothing to the sampler ${sampler}; it is to ${others.map(([name]) => name).join(', ')}`);
  }
  const parsed = allowed.safeParse(given);
  if (parsed.success) return parsed.data;
  const { path, text } = problemOf(parsed.error, given);
  throw new UsageError(`--${path}: ${text}`);
}

/**
 * The flags over the defaults of the model and of the LoRAs that it will get. Prompts that are too long are warned of.
 *
 * @throws UsageError for a size that the model cannot make, SamplingError for a plan that is not possible
 */
export function samplingSettings(
  pipeline: Pipeline, prompts: readonly string[], flags: SamplingFlags, progress: Progress, loras: readonly LoraUse[],
): SamplingSettings {
  const where = `${pipeline.source}: scheduler_config.json`;
  const scheduler = readSchedulerConfig(pipeline.scheduler, where);
  for (const text of schedulerWarnings(scheduler, where, flags.sampler !== undefined)) progress.warn(text);
  const { sampler = scheduler.sampler, guidance = defaultGuidance(pipeline, loras.map((use) => use.lora)), negative: negativePrompt, threads } = flags;
  const { samplingSteps: steps = defaultSteps(sampler) } = flags;
  const plan = samplers[sampler].plan(scheduler.process, steps, { ...scheduler.options, ...samplerFlags(sampler, flags) });
  const late = lateStart(scheduler.process, plan.steps[0]!.timestep);
  if (late) progress.warn(late);
  const [width, height] = flags.size ?? defaultSize(pipeline);
  try {
    latentShape(pipeline, 1, height, width);
  } catch (error) {
    // A value that is out of range is the user's to mend.
    throw error instanceof RangeError ? new UsageError(error.message) : error;
  }
  checkPrompts(pipeline, [...prompts, negativePrompt], (text) => progress.warn(text));
  return {
    sampler, steps, plan, guidance, negativePrompt, width, height, process: scheduler.process,
    compile: { device: flags.device, signal: stopSignal, ...(threads !== undefined && { threads }) },
  };
}

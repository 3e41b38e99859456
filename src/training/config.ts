/** @file The configuration of a run: every setting with its default and meaning; file < environment < flags. */
import { z } from 'zod';
import { GUARD_DEFAULTS } from '../evaluation/hacking-guard.js';
import { ConfigError } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import { problemOf } from '../formats/plain-issues.js';
import { bareSchema } from '../formats/schema.js';
import { holdsSecrets, SECRETS_REMEDY } from '../formats/url-secrets.js';
import { isMissing, MOST_BYTES, readText } from '../formats/whole-file.js';
import { parseYaml } from '../formats/yaml.js';
import { bundledModel, emoji } from '../loading/bundled.js';
import type { ModelFamily } from '../models/families/family.js';
import { sd1 } from '../models/families/sd.js';
import { small } from '../models/families/small.js';
import { UNET_LAYERS } from '../models/families/unet.js';
import { PREDICTIONS } from '../loading/load-single-file.js';
import { PRECISION_NAMES } from '../nn/precision.js';
import { PROCESS_NAMES, samplersOf } from '../schedulers/index.js';
import type { SamplerName } from '../schedulers/index.js';
import { samplerOptions } from '../schedulers/plan.js';
import { parseSize } from './memory-size.js';

const positive = z.number().positive();
const whole = z.int().positive();

const loraSchema = z.strictObject({
  rank: whole.default(8)
    .describe('Rank of B·A; 8 in DRaFT\'s small-scale experiments and in nabla-GFN.'),
  alpha: positive.optional()
    .describe('Constant alpha on B·A, alpha/rank; the rank by default, so that the factor is 1.'),
  rankStabilised: z.boolean().default(false)
    .describe('Scale B·A by alpha/√rank instead of alpha/rank (rsLoRA).'),
  targets: z.array(z.string().min(1)).min(1).default([...UNET_LAYERS]) // clearer pictures of a small model than attention alone (docs/decisions.md)
    .describe('Ends of layer paths; attention alone (to_q, to_k, to_v, to_out.0) by default for models other than the bundled one.'),
});

const finalSchema = z.strictObject({
  prompts: z.int().nonnegative().default(16)
    .describe('Prompts of each list that base and best checkpoint are measured on once more at the end; 0 for none.'),
  images: z.int().min(2).default(2)
    .describe('Images of each of them.'),
  promptSet: z.string().nullable().default('auto')
    .describe('List to report on, its prompts that are trained on left out. `auto`: `heldout`; null for none. '
      + 'The evaluations\' own list comes after it, its prompts that chose the checkpoint left out.'),
  seed: z.int().nonnegative().default(1_000_000)
    .describe('Of the noise, never that which checkpoints are chosen by.'),
});

const evaluationSchema = z.strictObject({
  every: z.int().nonnegative().default(10)
    .describe('Updates between evaluations; 0 evaluates only before and after.'),
  times: whole.nullable().default(null)
    .describe('Evaluations after the base model\'s, spread evenly over what may be spent, in place of `every`; null for '
      + '`every`.'),
  prompts: whole.max(10_000).default(8)
    .describe('Prompts that are sampled, from the start of the prompt list (or of `promptSet`).'),
  images: z.int().min(2).max(1000).default(4)
    .describe('Images of each of them.'),
  seed: z.int().nonnegative().default(0)
    .describe('Of the noise, never that of training: image i is what `attune sample --seed` makes of this + i.'),
  eta: z.number().min(0).max(1).default(0)
    .describe('Evaluation samples with DDIM of this η whatever the method trains with, so that all start from the same '
      + 'images.'),
  promptSet: z.string().optional()
    .describe('Another list to evaluate on; the training prompts by default.'),
  heldOut: z.string().nullable().default('auto')
    .describe('A reward that is never trained on. `auto`: the bundled judge for the bundled model, `self-alignment` (the base model judges its own images) for others; null for none.'),
  features: z.string().nullable().default('auto')
    .describe('What diversity and Fréchet distance are measured in: a CLIP folder, inception?file=… (FID), dreamsim?folder=…, dino, onnx?file=…&pixels=… (any network), or `unet`, the base model\'s own. `auto`: the bundled CLIP for the bundled model, `unet` for others; null for none.'),
  lpips: z.string().nullable().default(null)
    .describe('Files of LPIPS, alex?features=FILE&lins=FILE (or vgg, squeeze): how far each image drifts from the base model\'s is told by it too.'),
  sweep: z.array(z.number()).default([0, 0.5, 1, 1.5])
    .describe('Strengths of the LoRA that the report sweeps at the end.'),
  final: finalSchema.prefault({}),
});

const budgetSchema = z.strictObject({
  rewardQueries: whole.nullable().default(null)
    .describe('Images scored in training; the update during which they run out is the last.'),
  seconds: positive.nullable().default(null)
    .describe('Seconds of training; evaluations and checkpoints do not count.'),
});

const guardSchema = z.strictObject({
  enabled: z.boolean().default(true)
    .describe('Stop early, by the rules below. They choose the best checkpoint in any case; the last weights lie beside it.'),
  minDiversity: z.number().min(0).max(1).default(GUARD_DEFAULTS.minDiversity)
    .describe('Smallest diversity, as a share of the base model\'s.'),
  falseStops: z.number().positive().max(0.5).default(GUARD_DEFAULTS.falseStops)
    .describe('Largest chance, over the whole run, of stopping one whose judge and diversity only seem too low by the noise of the images.'),
  tolerance: z.number().nonnegative().nullable().default(GUARD_DEFAULTS.tolerance)
    .describe('A held-out reward counts as lower than another when it is so by more than this many standard errors of the difference, '
      + 'image by image; null for as many as `falseStops` asks for at each evaluation.'),
  patience: whole.default(GUARD_DEFAULTS.patience)
    .describe('Consecutive evaluations that must agree before the run is stopped.'),
  maxFrechet: positive.nullable().default(GUARD_DEFAULTS.maxFrechet)
    .describe('Largest Fréchet distance to the base model\'s samples; null for no limit.'),
});

/** Those that take one step at a time, through which methods can learn. */
const TRAINING_SAMPLERS = ['ddim', 'ddpm', 'dpm++2m-sde', 'flow-euler', 'flow-sde'] as const satisfies readonly SamplerName[];

export const configSchema = z.strictObject({
  model: z.string().min(1).default(emoji.name)
    .describe('Bundled name, diffusers folder, single file or hub id.'),
  like: z.string().min(1).optional()
    .describe('Of a single file: the bundled name, folder or hub id that has its tokenizer and configuration.'),
  vae: z.string().min(1).optional()
    .describe('VAE in the place of the model\'s own, or of one that has none: folder, file or hub id.'),
  prediction: z.enum(PREDICTIONS).optional()
    .describe('What the network predicts, where the model does not tell it (SD 2.x single files).'),
  embeddings: z.array(z.string().min(1)).default([])
    .describe('Textual Inversion: FILE[:word], or a hub id; the word stands for it in prompts.'),
  clipSkip: z.int().nonnegative().optional()
    .describe('Last layers of the text encoder that are left out for prompts, as diffusers counts (A1111\'s number less one).'),
  method: z.strictObject({ name: z.string().min(1).default('drtune') }).loose().default({ name: 'drtune' }),
  rewards: z.array(z.string().min(1)).min(1).default(['quality', 'emoji-clip:4'])
    .describe('NAME[:weight][?option=value]; several are summed. Must be given for other models than the bundled one.'),
  subjectTo: z.array(z.string().min(1)).default([])
    .describe('Rewards that must keep to a bound while the others rise: NAME>=BOUND or NAME<=BOUND, the bound a number, `base`, or base-0.5sd. A checkpoint that breaks one is not chosen.'),
  multipliers: z.strictObject({
    penalty: positive.default(2)
      .describe('ρ of the augmented Lagrangian: the weight of a deviation of violation, in deviations of what is asked for.'),
    rate: positive.max(1).default(0.2)
      .describe('Share of an update\'s violation that multiplier and running mean take up.'),
  }).prefault({}),
  normalise: z.boolean().default(false)
    .describe('Count each reward in deviations from the base model\'s mean, so that weights mean the same for all; `min` and `max` too. Those with a mean or std of their own stay.'),
  baseImages: whole.min(8).max(10_000).default(64)
    .describe('Images of the base model by which rewards are measured before training, for `normalise` and `subjectTo`.'),
  prompts: z.string().min(1).default('people')
    .describe('Bundled list, or a .txt, .csv, .tsv, .json, .jsonl or .parquet file; `animals` by default for other models.'),
  steps: whole.default(40)
    .describe('Updates of the optimiser.'),
  budget: budgetSchema.prefault({})
    .describe('Ends the run before its steps are done. Schedules of the learning rate go by steps all the same.'),
  batch: whole.max(100_000).default(8)
    .describe('Images of a round: what the statistics of a method and an update are made from.'),
  microbatch: whole.max(4096).optional()
    .describe('Images that go through the network together, a divisor of `batch`; as many as fit into memory by default.'),
  lr: positive.default(5e-4)
    .describe('Learning rate of AdamW; 4e-4 by default for models other than the bundled one (DRaFT\'s LoRAs).'),
  schedule: z.enum(['constant', 'cosine', 'linear']).default('constant')
    .describe('How the learning rate goes over `steps`, after the warm-up.'),
  warmup: z.int().nonnegative().default(0)
    .describe('Updates over which the learning rate rises from 0.'),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.999),
  weightDecay: z.number().nonnegative().default(1e-4),
  clip: positive.nullable().default(1)
    .describe('Largest norm of all gradients together; null for none.'),
  ema: z.number().min(0).lt(1).nullable().default(null)
    .describe('Average the weights over updates; null for none.'),
  train: z.enum(['lora', 'full']).default('lora')
    .describe('`lora`, or `full` for all weights of the U-Net.'),
  lora: loraSchema.prefault({}),
  sampler: z.enum(TRAINING_SAMPLERS).default('ddim')
    .describe('ddim, ddpm or dpm++2m-sde; of flow models ddim, flow-euler or flow-sde.'),
  spacing: samplerOptions.shape.spacing
    .describe('How its steps are spread over the training times; the model\'s own by default, `trailing` for Turbo models.'),
  samplingSteps: whole.max(1000).default(8)
    .describe('Denoising steps of each image, in training and evaluation; 20 by default for other models.'),
  guidance: z.number().min(0).default(1)
    .describe('Classifier-free guidance, trained through; up to 1 is none: the tuned model then needs no second network call. 5 by default for other models (AlignProp, DDPO, nabla-GFN).'),
  negativePrompt: z.string().default(''),
  size: whole.max(8192).optional()
    .describe('Image side in pixels; the model\'s own by default.'),
  checkpointing: z.boolean().optional()
    .describe('Compute activations again in the backward pass: less memory, more time. By default only where nothing fits into memory without.'),
  seed: z.int().nonnegative().default(0),
  checkpointEvery: whole.default(20)
    .describe('Updates between checkpoints.'),
  evaluation: evaluationSchema.prefault({}),
  guard: guardSchema.prefault({}),
  device: z.enum(['cpu', 'webgpu', 'cuda']).default('cpu'),
  precision: z.enum(['auto', ...PRECISION_NAMES]).default('auto')
    .describe('`auto` is `mixed` on a WebGPU device that computes in float16, and `float32` elsewhere. `float16-storage` and `bfloat16-storage` keep the frozen weights in half of the memory and widen them where '
      + 'they are used, which takes longer; `mixed` computes in float16 as well, for GPUs. What is trained is float32 always.'),
  threads: whole.optional()
    .describe('Of the CPU, for one operator; all cores by default, and one for each of several workers.'),
  workers: whole.max(256).default(1)
    .describe('Threads that each compute another part (`microbatch`) of a round at the same time, on the CPU. Each holds the model. Any number makes the same bits, as long as `microbatch` and `threads` are the same; several workers take 4 images at a time by default.'),
  memory: z.string().refine((text) => parseSize(text) !== null, 'a size, as 8GiB or 800MiB').optional()
    .describe('What the run may take of the memory that it computes in, as 8GiB; by default all that there is, where that is known.'),
});

type Tree = Record<string, unknown>;

/** What other models than the bundled one start from. */
const OTHER_MODELS: Tree = { prompts: 'animals' };

/** Everything that decides what a run computes. */
export type RunConfig = z.infer<typeof configSchema>;

const isSection = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The one key whose assignment would not add a key. */
function refusePrototype(path: string): void {
  if (path.split('.').includes('__proto__')) throw new ConfigError(`there is no setting "${path}"`);
}

/** Sets `a.b.c` in a tree. @throws ConfigError for a path through something that is not a section */
export function setPath(tree: Tree, path: string, value: unknown): void {
  const keys = path.split('.');
  refusePrototype(path);
  let at = tree;
  for (const key of keys.slice(0, -1)) {
    if (!Object.hasOwn(at, key)) at[key] = {};
    const section = at[key];
    if (!isSection(section)) throw new ConfigError(`${path}: "${key}" is a value, not a section`);
    at = section;
  }
  at[keys.at(-1)!] = value;
}

/** Reads `dotted.key=value`; the value is YAML, so numbers, booleans and lists come out as such. */
export function parseAssignment(text: string): [path: string, value: unknown] {
  const at = text.indexOf('=');
  if (at < 1) throw new ConfigError(`"${text}" is not of the form dotted.key=value`);
  refusePrototype(text.slice(0, at));
  try {
    return [text.slice(0, at), parseYaml(text.slice(at + 1), text.slice(0, at))];
  } catch (cause) {
    throw new ConfigError(`${text.slice(0, at)}: "${text.slice(at + 1)}" is not a value that YAML understands; quote it`, { cause });
  }
}

/** `settings` over `defaults`, section by section. */
function over(defaults: Tree, settings: Tree): Tree {
  const merged = Object.entries(settings).map(([key, value]) => {
    const known = Object.hasOwn(defaults, key) ? defaults[key] : undefined;
    return [key, isSection(known) && isSection(value) ? over(known, value) : value] as const;
  });
  return { ...defaults, ...Object.fromEntries(merged) };
}

/** A configuration file (YAML or JSON). @throws ConfigError if it is missing or not a map; FormatError if not YAML */
export async function readConfigFile(path: string): Promise<Tree> {
  const text = await readText(path, MOST_BYTES.settings).catch((cause: unknown) => {
    if (isMissing(cause)) throw new ConfigError(`cannot read the configuration ${path}: there is no such file. Check the path.`);
    throw cause;
  });
  const value = parseYaml(text, path);
  if (value === null) return {};
  if (!isSection(value)) throw new ConfigError(`${path} must hold settings, one a line`);
  return value;
}

/** Settings from `ATTUNE_SET_<PATH>`, dots as double underscores: ATTUNE_SET_METHOD__NAME=draft. */
export function environmentSettings(env: Readonly<Record<string, string | undefined>>): [string, unknown][] {
  return Object.entries(env).flatMap(([name, value]): [string, unknown][] => {
    if (!name.startsWith('ATTUNE_SET_') || value === undefined) return [];
    const words = name.slice('ATTUNE_SET_'.length).toLowerCase().split('__');
    const path = words.map((w) => w.replace(/_(\w)/g, (_, c: string) => c.toUpperCase())).join('.');
    return [parseAssignment(`${path}=${value}`)];
  });
}

/** Every key path of the schema, for suggestions. */
function knownPaths(schema: z.ZodObject, prefix = ''): string[] {
  return Object.entries(schema.shape).flatMap(([key, field]) => {
    const inner = bareSchema(field as z.ZodType);
    return inner instanceof z.ZodObject ? knownPaths(inner, `${prefix}${key}.`) : [`${prefix}${key}`];
  });
}

/** @throws ConfigError for an address with a password or key in it: a configuration is saved with its run */
function refuseSecrets(value: unknown, path = ''): void {
  if (typeof value === 'string' && holdsSecrets(value)) {
    throw new ConfigError(`${path} has a password or key in an address. ${SECRETS_REMEDY}`);
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) refuseSecrets(inner, path === '' ? key : `${path}.${key}`);
}

/** What stands for earlier versions' `accumulate`, the number of batches in an update. */
export function insteadOfAccumulate({ accumulate, batch = 8 }: Tree): string {
  const [before, now] = [Number(accumulate), Number(batch)];
  return before > 0 && now > 0 ? `batch: ${before * now} and microbatch: ${now}` : 'batch and microbatch';
}

/** @throws ConfigError for a setting of earlier versions, saying what to write instead */
function refuseAccumulate(tree: Tree): void {
  if (tree['accumulate'] === undefined) return;
  throw new ConfigError('accumulate is no setting any more: an update is made from `batch` images, computed `microbatch` at a time. '
    + `Write ${insteadOfAccumulate(tree)} instead`);
}

/** @throws ConfigError if the batch cannot be cut into equal parts */
function cuttable(config: RunConfig): RunConfig {
  const { batch, microbatch = batch } = config;
  if (batch % microbatch === 0) return config;
  throw new ConfigError(`microbatch: ${batch} images (batch) cannot be cut into parts of ${microbatch}; take a divisor of ${batch}`);
}

/** Images in a part for workers, at most, where nothing says so: not by their number, on which no bit depends. Smaller parts cost more (docs/decisions.md). */
const PART = 4;

/**
 * What several workers compute, written down so that any number of them, or none, makes the same bits later.
 *
 * @throws ConfigError for workers on a GPU, which computes one thing at a time
 */
function forWorkers(config: RunConfig): RunConfig {
  const { workers, device, batch, threads = 1 } = config;
  if (workers === 1) return config;
  if (device !== 'cpu') throw new ConfigError(`workers: ${device} computes one thing at a time; leave out --workers, or take --device cpu`);
  const part = Array.from({ length: PART }, (_, i) => PART - i).find((n) => batch % n === 0 && (n < batch || n === 1))!;
  return { ...config, threads, microbatch: config.microbatch ?? part };
}

/** @throws ConfigError for a sampler that is for other processes than the family's */
function suitable(config: RunConfig, family: Pick<ModelFamily, 'name' | 'process'> | undefined): RunConfig {
  if (!family) return config; // whether it suits the model is seen once that is loaded
  const theirs = samplersOf(family.process);
  if (theirs.includes(config.sampler)) return config;
  throw new ConfigError(`sampler: ${config.sampler} does not sample ${PROCESS_NAMES[family.process]}, as ${family.name} models are; `
    + `take ${TRAINING_SAMPLERS.filter((name) => theirs.includes(name)).join(', ')}`);
}

/**
 * The full configuration from layers of settings, later ones winning.
 *
 * @param family that of a model that is not bundled, whose defaults are taken; where it is not known, Stable Diffusion's
 * @throws ConfigError naming the field that is unknown (with the nearest one) or wrong
 */
export function resolveConfig(
  file: Tree, assignments: readonly (readonly [string, unknown])[], family?: Pick<ModelFamily, 'name' | 'process' | 'defaults'>,
): RunConfig {
  const tree = structuredClone(file);
  for (const [path, value] of assignments) setPath(tree, path, value);
  const other = tree['model'] !== undefined && !bundledModel(String(tree['model']));
  if (other && tree['rewards'] === undefined) {
    throw new ConfigError(`rewards: give one with --reward; the default ones only know emoji, and ${String(tree['model'])} `
      + 'is another model. attune list rewards shows all.');
  }
  refuseSecrets(tree);
  refuseAccumulate(tree);
  const settings = other ? over({ ...OTHER_MODELS, ...(family ?? sd1).defaults.training }, tree) : tree;
  const result = configSchema.safeParse(settings);
  if (result.success) return suitable(forWorkers(cuttable(result.data)), other ? family : small);
  const unknown = result.error.issues.find((i) => i.code === 'unrecognized_keys');
  if (unknown) {
    const key = [...unknown.path, unknown.keys[0]!].join('.');
    throw new ConfigError(`there is no setting "${key}". ${suggestion(key, knownPaths(configSchema))}`);
  }
  const { path, text } = problemOf(result.error, settings);
  throw new ConfigError(`${path}: ${text}`);
}

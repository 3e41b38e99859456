/** @file From a configuration to the parts of a run: model, rewards, prompts, task, evaluator. */
import { basename } from 'node:path';
import { openFeatures } from '../evaluation/features.js';
import type { FeatureExtractor } from '../evaluation/features.js';
import { packageVersion } from '../formats/package-root.js';
import { findMethod, METHODS } from '../methods/index.js';
import type { Method } from '../methods/method.js';
import { openRoller } from '../methods/rollout.js';
import { bundledModel } from '../models/families/bundled.js';
import type { BundledModel } from '../models/families/bundled.js';
import { loadPipeline } from '../models/load.js';
import { nativeSize } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { unmatchedTargets } from '../nn/lora.js';
import { PRECISIONS } from '../nn/precision.js';
import { openRewards, parseReward, parseRewards } from '../rewards/registry.js';
import type { Reward } from '../rewards/reward.js';
import { openScorer } from '../rewards/scorer.js';
import type { Execution } from '../runtime/compile.js';
import { releasedOnFailure } from '../runtime/resources.js';
import type { Resources } from '../runtime/resources.js';
import { checkPrompts } from '../sampling/check-prompts.js';
import { sampleNoise } from '../sampling/sampler.js';
import { samplers } from '../schedulers/index.js';
import type { SamplerOptions } from '../schedulers/plan.js';
import { stochasticSteps } from '../schedulers/transition.js';
import { readSchedulerConfig, schedulerWarnings } from '../schedulers/scheduler-config.js';
import { lateStart } from '../schedulers/timesteps.js';
import { ConfigError } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import { problemOf } from '../formats/plain-issues.js';
import type { RunConfig } from './config.js';
import { openEvaluator } from './evaluate.js';
import type { EvaluationSet, Evaluator } from './evaluate.js';
import { evaluationSets } from './evaluation-sets.js';
import { barePaths } from './paths.js';
import { defaultMicrobatch } from './microbatch.js';
import { openPipelineTask, updateBytes } from './pipeline-task.js';
import type { PipelineTask, PipelineTaskOptions } from './pipeline-task.js';
import { downloadsTo } from '../runs/progress.js';
import type { Progress } from '../runs/progress.js';
import { loadPrompts } from './prompts.js';
import type { PromptSet } from './prompts.js';
import type { Manifest } from '../runs/manifest.js';

export interface Session {
  readonly config: RunConfig;
  readonly pipeline: Pipeline;
  readonly method: Method<never>;
  readonly methodOptions: never;
  readonly task: PipelineTask;
  readonly prompts: PromptSet;
  readonly reward: Reward;
  readonly heldOut: Reward | null;
  readonly evaluator: Evaluator;
  /** What base and best checkpoint are measured on at the end, the headline's first; empty for nothing. */
  readonly reported: readonly EvaluationSet[];
  /** What identifies the run: names, versions, seed; `inputsOf` has the digests. */
  readonly manifest: Manifest;
  release(): Promise<void>;
}

/** What a caller brings along instead of naming it in the configuration. The session releases the reward. */
export interface Own {
  readonly pipeline?: Pipeline;
  readonly reward?: Reward;
  readonly method?: Method<never>;
}

/** The method of a configuration with its options checked. @throws ConfigError naming the nearest valid name */
export function chosenMethod(config: RunConfig, own?: Method<never>): { method: Method<never>; options: never } {
  const { name, ...given } = config.method;
  const method = own ?? findMethod(name);
  if (!method) throw new ConfigError(`there is no method "${name}". ${suggestion(name, METHODS.map((m) => m.name))}`);
  const outdated = method.outdated?.(given);
  if (outdated) throw new ConfigError(`method.${outdated}`);
  const parsed = method.options.safeParse(given);
  if (parsed.success) return { method, options: parsed.data };
  const { path, text } = problemOf(parsed.error, given, method.options);
  throw new ConfigError(`method.${path}: ${text} (method ${name}; see attune list methods)`);
}

async function heldOutReward(
  config: RunConfig, bundled: BundledModel | null, trained: Reward, options: Parameters<typeof openRewards>[1],
): Promise<Reward | null> {
  const { heldOut } = config.evaluation;
  const name = heldOut === 'auto' ? (bundled?.heldOut ?? null) : heldOut;
  if (name === null) return null;
  if ((trained.parts ?? [{ reward: trained }]).some(({ reward }) => reward.name === parseReward(name).name)) {
    throw new ConfigError(`evaluation.heldOut: ${name} is trained on, so it is no held-out reward; choose another or null`);
  }
  return openRewards([parseReward(name)], options);
}

/** The CLIP folder of the feature space that a configuration names; null for none. */
export const featureFolder = ({ evaluation: { features } }: RunConfig, bundled: BundledModel | null): string | null =>
  (features === 'auto' ? bundled?.features ?? null : features);

async function featureSpace(config: RunConfig, bundled: BundledModel | null, compile: Execution): Promise<FeatureExtractor | null> {
  const folder = featureFolder(config, bundled);
  return folder === null ? null : openFeatures(folder, { tokenizer: null, compile });
}

/** The configuration with the names of what a caller brings along. */
export function namedConfig(given: RunConfig, own: Own): RunConfig {
  return {
    ...given,
    ...(own.reward && { rewards: [own.reward.name] }),
    ...(own.method && { method: { ...given.method, name: own.method.name } }),
  };
}

export interface SessionUse {
  /** `measure` asks nothing of reward and sampler that only the method needs, which is not used then. Default: `train`. */
  readonly purpose?: 'train' | 'measure';
  /** Ends whatever the session does, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens everything that a run needs. Mistakes in names and files are found here, before any hour is spent.
 *
 * @param given its model, reward and method are not looked at where `own` has them
 */
export function openSession(given: RunConfig, progress: Progress, own: Own = {}, use: SessionUse = {}): Promise<Session> {
  return releasedOnFailure((resources) => open(namedConfig(given, own), progress, own, resources, use));
}

async function open(
  config: RunConfig, progress: Progress, own: Own, resources: Resources, { purpose = 'train', signal }: SessionUse,
): Promise<Session> {
  const { method, options: methodOptions } = chosenMethod(config, own.method);
  const prompts = await loadPrompts(config.prompts);
  const bundled = own.pipeline ? own.pipeline.bundled : bundledModel(config.model);
  const { selection, reported } = await evaluationSets(config, bundled, prompts);
  const compile: Execution = {
    device: config.device, ...(config.threads !== undefined && { threads: config.threads }), ...(signal && { signal }),
  };
  const opening = { compile, downloads: downloadsTo(progress, signal) };
  progress.phase(`loading rewards ${config.rewards.join(' + ')}`);
  const reward = resources.use(own.reward ?? (await openRewards(parseRewards(config.rewards), opening)));
  if (purpose === 'train' && method.needs.differentiableReward && !reward.differentiable) {
    throw new ConfigError(`method ${method.name} needs a differentiable reward, and ${reward.name} is a black box`);
  }
  const heldOut = resources.use(await heldOutReward(config, bundled, reward, opening));
  const features = resources.use(await featureSpace(config, bundled, compile));
  if (!own.pipeline) progress.phase(`loading model ${config.model}`);
  const pipeline = own.pipeline ?? (await loadPipeline(config.model, {
    onProgress: opening.downloads.bytes, onWarning: (text) => progress.warn(text), like: config.like, vae: config.vae, prediction: config.prediction,
    embeddings: config.embeddings, clipSkip: config.clipSkip, precision: PRECISIONS[config.precision],
  }));
  const size = config.size ?? nativeSize(pipeline);
  if (size === undefined) throw new ConfigError(`size: ${config.model} does not tell its image size; give --set size=512`);
  const where = `${pipeline.source}: scheduler_config.json`;
  const scheduler = readSchedulerConfig(pipeline.scheduler, where);
  for (const text of schedulerWarnings(scheduler, where, config.sampler !== 'ddim')) progress.warn(text);
  const settings = { ...scheduler.options, ...(config.spacing && { spacing: config.spacing }) };
  const planned = { ...settings, ...samplerOptions(config, method) };
  const plan = samplers[config.sampler].plan(scheduler.process, config.samplingSteps, planned);
  const late = lateStart(scheduler.process, plan.steps[0]!.timestep);
  if (late) progress.warn(late);
  if (purpose === 'train' && method.needs.density) stochasticSteps(plan);
  const warn = (text: string): void => progress.warn(text);
  const measured = [selection, ...reported].flatMap((set) => set.prompts);
  checkPrompts(pipeline, [...prompts.prompts, ...measured, config.negativePrompt], warn);
  progress.phase('compiling');
  const parts: Omit<PipelineTaskOptions, 'microbatch'> = {
    seed: config.seed,
    process: scheduler.process,
    plan,
    guidance: config.guidance,
    negativePrompt: config.negativePrompt,
    height: size,
    width: size,
    adaptation: config.train === 'full' ? { kind: 'full' } : { kind: 'lora', options: loraOptions(config) },
    reward,
    checkpointing: config.checkpointing,
    compile,
    warn,
  };
  // How much memory a GPU has is not known here.
  const microbatch = config.microbatch
    ?? (config.device === 'cpu' ? defaultMicrobatch(config.batch, size * size, () => updateBytes(pipeline, parts)) : config.batch);
  const task = resources.use(await openPipelineTask(pipeline, { ...parts, microbatch }));
  const idle = task.adapter ? unmatchedTargets(task.adapter, config.lora.targets) : [];
  if (idle.length > 0) progress.warn(`lora.targets: no layer's path ends in ${idle.join(' or ')}; the others are adapted`);
  const { eta, seed } = config.evaluation;
  const even = samplers.ddim.plan(scheduler.process, config.samplingSteps, { ...settings, eta });
  const roller = resources.use(await openRoller(task, 'tuned', sampleNoise(seed), { plan: even }));
  const scorers = [resources.use(openScorer(reward, { compile })), resources.use(heldOut && openScorer(heldOut, { compile }))] as const;
  const evaluator = openEvaluator({
    task, roller, features, progress, selection, plan: even,
    reward: scorers[0],
    heldOut: scorers[1],
    heldOutName: heldOut?.name ?? null,
  });
  return {
    config, pipeline, method, methodOptions, task, prompts, reward, heldOut, evaluator, reported,
    manifest: {
      attune: packageVersion,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      seed: config.seed,
      model: basename(config.model),
      rewards: barePaths(config).rewards,
      heldOut: heldOut?.name ?? null,
      prompts: { name: basename(prompts.name), count: prompts.prompts.length },
      method: { name: method.name, paper: method.paper },
    },
    release: () => resources.release(),
  };
}

/** What the method's paper says of the sampler; every step must be a step of its own, with a density where that is needed. */
function samplerOptions({ sampler }: RunConfig, { sampling: { noise, noisyEnd } }: Method<never>): SamplerOptions {
  if (sampler === 'ddim') return { eta: noise, lastStep: noisyEnd ? 'ddpo' : 'diffusers' };
  return sampler === 'dpm++2m-sde' ? { order: 1, finalSigma: 'min' } : {};
}

function loraOptions(config: RunConfig) {
  const { rank, alpha, rankStabilised, targets } = config.lora;
  return { rank, rankStabilised, targets, ...(alpha === undefined ? {} : { alpha }) };
}

/** @file What measuring and training a model both need: the model, rewards, prompts and sampler that a configuration names. */
import { basename } from 'node:path';
import { DENOISER_SPACE, openDenoiserFeatures } from '../evaluation/denoiser-features.js';
import { openSpace } from '../evaluation/spaces.js';
import type { FeatureExtractor } from '../evaluation/features.js';
import { openPairDistance } from '../evaluation/pair-distance.js';
import { packageVersion } from '../formats/package-root.js';
import { openRollouts } from '../methods/rollout.js';
import { bundledModel } from '../loading/bundled.js';
import type { BundledModel } from '../models/families/family.js';
import { loadPipeline } from '../loading/load.js';
import { nativeSize } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { PRECISIONS } from '../nn/precision.js';
import type { PrecisionName } from '../nn/precision.js';
import type { Downloads } from '../rewards/published.js';
import { parseConstraint } from '../rewards/constraint.js';
import { openObjective } from '../rewards/objective.js';
import type { Objective } from '../rewards/objective.js';
import { openRewards, parseReward, parseRewards } from '../rewards/registry.js';
import type { Reward } from '../rewards/reward.js';
import { openSessionThreads } from '../workers/session-threads.js';
import { openScorer } from '../rewards/scorer.js';
import type { Execution } from '../runtime/compile.js';
import type { Resources } from '../host/resources.js';
import { checkPrompts } from '../sampling/check-prompts.js';
import type { PipelineSampling } from '../sampling/model.js';
import { sampleNoise } from '../sampling/sampler.js';
import { samplers } from '../schedulers/index.js';
import type { Plan, SamplerOptions } from '../schedulers/plan.js';
import { readSchedulerConfig, schedulerWarnings } from '../schedulers/scheduler-config.js';
import { ConfigError } from '../formats/errors.js';
import type { RunConfig } from './config.js';
import { openEvaluator } from './evaluate.js';
import type { EvaluationSet, Evaluator } from './evaluate.js';
import { evaluationSets } from './evaluation-sets.js';
import { barePaths } from './paths.js';
import { chosenPrecision } from './precision.js';
import { inPrecision } from './fit-memory.js';
import { forecast } from './forecast.js';
import type { ForecastOf } from './forecast.js';
import { sessionMemory } from './session-memory.js';
import type { SessionMemory } from './session-memory.js';
import type { Adaptation, PipelineTaskOptions } from './pipeline-task.js';
import { downloadsTo } from '../runs/progress.js';
import type { Progress } from '../runs/progress.js';
import { loadPrompts } from './prompts.js';
import type { PromptSet } from './prompts.js';
import type { Manifest } from '../runs/manifest.js';

/** A configuration whose precision is no longer left to the device. */
type DecidedConfig = RunConfig & { readonly precision: PrecisionName };

/** What a caller brings along instead of naming it in the configuration. Whoever opens it releases the reward. */
export interface OwnModel {
  readonly pipeline?: Pipeline;
  readonly reward?: Reward;
  /** The model that judges its own images, and whose features they have, where `pipeline` is one made of it. */
  readonly base?: Pipeline;
}

export interface Materials {
  /** With what was left to the device decided. */
  readonly config: DecidedConfig;
  readonly pipeline: Pipeline;
  readonly prompts: PromptSet;
  readonly objective: Objective;
  readonly heldOut: Reward | null;
  /** What base and best checkpoint are measured on at the end, the headline's first; empty for nothing. */
  readonly reported: readonly EvaluationSet[];
  /** How the model is opened, whatever it is sampled with and however it fits into memory. */
  readonly opened: Omit<PipelineTaskOptions, 'plan' | 'microbatch' | 'checkpointing'>;
  /** Fits the work into memory. @throws ConfigError where it does not fit, with what to change */
  memory(plan: Plan, training: ForecastOf['training']): Promise<SessionMemory>;
  /** What samplers take from the model's files and the configuration. */
  readonly samplerOptions: SamplerOptions;
  /** How pictures are sampled that are measured. */
  readonly evaluationPlan: Plan;
  evaluator(model: PipelineSampling): Promise<Evaluator>;
  /** What identifies the work: names, versions, seed. */
  readonly manifest: Manifest;
}

/** Every model can judge its own images; the bundled ones have a judge that knows more. */
async function heldOutReward(
  config: RunConfig, bundled: BundledModel | null, trained: Reward, options: Parameters<typeof openRewards>[1],
): Promise<Reward | null> {
  const { heldOut } = config.evaluation;
  const name = heldOut === 'auto' ? (bundled?.heldOut ?? 'self-alignment') : heldOut;
  if (name === null) return null;
  if ((trained.parts ?? [{ reward: trained }]).some(({ reward }) => reward.name === parseReward(name).name)) {
    if (heldOut === 'auto') return null;
    throw new ConfigError(`evaluation.heldOut: ${name} is trained on, so it is no held-out reward; choose another or null`);
  }
  return openRewards([parseReward(name)], options);
}

/** The feature space of a configuration: a CLIP folder or one of `evaluation/spaces.ts`, `DENOISER_SPACE`, or null for none. */
const spaceOf = ({ evaluation: { features } }: RunConfig, bundled: BundledModel | null): string | null =>
  (features === 'auto' ? bundled?.features ?? DENOISER_SPACE : features);

/** What a configuration names as the feature space, if that has files; null otherwise. */
export function featureFolder(config: RunConfig, bundled: BundledModel | null): string | null {
  const space = spaceOf(config, bundled);
  return space === DENOISER_SPACE ? null : space;
}

async function featureSpace(
  config: RunConfig, bundled: BundledModel | null, compile: Execution, base: () => Promise<Pipeline>, downloads: Downloads,
): Promise<FeatureExtractor | null> {
  const space = spaceOf(config, bundled);
  if (space === DENOISER_SPACE) return openDenoiserFeatures(await base(), { compile });
  return space === null ? null : openSpace(space, compile, downloads);
}

function adaptationOf({ train, lora: { rank, alpha, rankStabilised, targets } }: RunConfig): Adaptation {
  if (train === 'full') return { kind: 'full' };
  return { kind: 'lora', options: { rank, rankStabilised, targets, ...(alpha === undefined ? {} : { alpha }) } };
}

export interface MaterialsUse {
  /** Looks at the rewards before the model is loaded. */
  readonly check?: (reward: Reward) => void;
  /** Ends whatever is done here, and what is opened with it, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Opens all of it; `resources` takes charge. Mistakes in names and files are found here, before any hour is spent. */
export async function openMaterials(
  given: RunConfig, progress: Progress, own: OwnModel, resources: Resources, { check, signal }: MaterialsUse,
): Promise<Materials> {
  const precision = await chosenPrecision(given.precision, given.device, progress.phase, own.pipeline);
  const config = { ...given, precision };
  const prompts = await loadPrompts(config.prompts);
  const bundled = own.pipeline ? own.pipeline.bundled : bundledModel(config.model);
  const { selection, reported } = await evaluationSets(config, bundled, prompts);
  const compile: Execution = {
    device: config.device, ...(config.threads !== undefined && { threads: config.threads }), ...(signal && { signal }),
  };
  const parts = config.batch / (config.microbatch ?? config.batch);
  if (config.workers > Math.max(1, parts)) {
    progress.warn(`a round is cut into ${parts} part(s), so that no more than ${parts} of ${config.workers} workers have something to do; take a smaller --microbatch`);
  }
  const pool = config.workers > 1 ? resources.use(openSessionThreads(config.workers)) : undefined;
  const warn = (text: string): void => progress.warn(text);
  const downloads = downloadsTo(progress, signal);
  let loading: Promise<Pipeline> | null = null;
  /** Once, by whoever asks first. */
  const load = (): Promise<Pipeline> => {
    if (own.pipeline) return Promise.resolve(own.pipeline);
    if (!loading) progress.phase(`loading model ${config.model}`);
    return (loading ??= loadPipeline(config.model, {
      onProgress: downloads.bytes, onWarning: warn, like: config.like, vae: config.vae, prediction: config.prediction,
      embeddings: config.embeddings, clipSkip: config.clipSkip, precision: PRECISIONS[config.precision],
    }));
  };
  const base = async (): Promise<Pipeline> => own.base ?? load();
  const opening = { compile, downloads, base };
  progress.phase(`loading rewards ${config.rewards.join(' + ')}`);
  const objective = await openObjective(
    own.reward ? [] : parseRewards(config.rewards), config.subjectTo.map(parseConstraint), { ...config.multipliers, normalise: config.normalise, own: own.reward }, opening,
  );
  const reward = resources.use(objective.trained);
  check?.(reward);
  const heldOut = resources.use(await heldOutReward(config, bundled, reward, opening));
  const features = resources.use(await featureSpace(config, bundled, compile, base, opening.downloads));
  const lpips = resources.use(config.evaluation.lpips === null ? null : await openPairDistance(config.evaluation.lpips, compile));
  const pipeline = await load();
  const size = config.size ?? nativeSize(pipeline);
  if (size === undefined) throw new ConfigError(`size: ${config.model} does not tell its image size; give --set size=512`);
  const where = `${pipeline.source}: scheduler_config.json`;
  const scheduler = readSchedulerConfig(pipeline.scheduler, where);
  for (const text of schedulerWarnings(scheduler, where, config.sampler !== 'ddim')) warn(text);
  const samplerOptions = { ...scheduler.options, ...(config.spacing && { spacing: config.spacing }) };
  const { eta, seed } = config.evaluation;
  const evaluationPlan = samplers.ddim.plan(scheduler.process, config.samplingSteps, { ...samplerOptions, eta });
  const measured = [selection, ...reported].flatMap((set) => set.prompts);
  checkPrompts(pipeline, [...prompts.prompts, ...measured, config.negativePrompt], warn);
  const opened = {
    seed: config.seed,
    process: scheduler.process,
    guidance: config.guidance,
    negativePrompt: config.negativePrompt,
    height: size,
    width: size,
    adaptation: adaptationOf(config),
    reward,
    hear: objective.hear,
    compile,
    pool,
    warn,
  };
  return {
    config, pipeline, prompts, objective, heldOut, reported, samplerOptions, evaluationPlan, opened,
    memory: (plan, training) => sessionMemory(config, size, ({ precision, size: side, rank, ...levers }) => forecast({
      pipeline: precision === config.precision ? pipeline : inPrecision(pipeline, precision),
      options: {
        ...opened, plan, ...levers, height: side, width: side,
        adaptation: adaptationOf(rank === null ? config : { ...config, lora: { ...config.lora, rank } }),
      },
      training, judges: heldOut ? [heldOut] : [],
    })),
    async evaluator(model) {
      const rollouts = resources.use(await openRollouts(model, 'tuned', sampleNoise(seed), { plan: evaluationPlan }));
      return openEvaluator({
        model, rollouts, features, lpips, progress, selection, plan: evaluationPlan,
        reward: resources.use(openScorer(objective.judged, { compile })),
        constrained: objective.constraints.map((c) => c.name),
        heldOut: resources.use(heldOut && openScorer(heldOut, { compile })),
        heldOutName: heldOut?.name ?? null,
      });
    },
    manifest: {
      attune: packageVersion,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      seed: config.seed,
      model: basename(config.model),
      rewards: barePaths(config).rewards,
      heldOut: heldOut?.name ?? null,
      prompts: { name: basename(prompts.name), count: prompts.prompts.length },
    },
  };
}

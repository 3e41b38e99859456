/** @file From a configuration to the parts of a run: model, rewards, prompts, method, task, evaluator. */
import { findMethod, METHODS } from '../methods/index.js';
import type { Method } from '../methods/method.js';
import { unmatchedTargets } from '../nn/lora.js';
import type { Reward } from '../rewards/reward.js';
import { releasedOnFailure } from '../host/resources.js';
import { samplers } from '../schedulers/index.js';
import type { SamplerOptions } from '../schedulers/plan.js';
import { stochasticSteps } from '../schedulers/transition.js';
import { lateStart } from '../schedulers/timesteps.js';
import { ConfigError } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import { problemOf } from '../formats/plain-issues.js';
import type { RunConfig } from './config.js';
import type { Evaluator } from './evaluate.js';
import { openMaterials } from './materials.js';
import type { Materials, OwnModel } from './materials.js';
import { openPipelineTask } from './pipeline-task.js';
import type { PipelineTask } from './pipeline-task.js';
import type { SessionMemory } from './session-memory.js';
import type { Progress } from '../runs/progress.js';

export interface Session extends Pick<Materials, 'config' | 'pipeline' | 'prompts' | 'objective' | 'heldOut' | 'reported'> {
  readonly method: Method<never>;
  readonly methodOptions: never;
  readonly task: PipelineTask;
  /** How it fits into memory, and how much there is; the forecast is made when it is asked for. */
  readonly memory: SessionMemory;
  readonly evaluator: Evaluator;
  /** What identifies the run: names, versions, seed; `inputsOf` has the digests. */
  readonly manifest: Materials['manifest'];
  release(): Promise<void>;
}

/** What a caller brings along instead of naming it in the configuration. The session releases the reward. */
export interface Own extends OwnModel {
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

/** The configuration with the names of what a caller brings along. */
export function namedConfig(given: RunConfig, own: Own): RunConfig {
  return {
    ...given,
    ...(own.reward && { rewards: [own.reward.name] }),
    ...(own.method && { method: { ...given.method, name: own.method.name } }),
  };
}

/**
 * Opens everything that a run needs. Mistakes in names and files are found here, before any hour is spent.
 *
 * @param given its model, reward and method are not looked at where `own` has them
 * @param signal ends whatever the session does, with its reason
 */
export function openSession(given: RunConfig, progress: Progress, own: Own = {}, signal?: AbortSignal): Promise<Session> {
  const config = namedConfig(given, own);
  return releasedOnFailure(async (resources) => {
    const { method, options: methodOptions } = chosenMethod(config, own.method);
    const check = ({ name, differentiable }: Reward): void => {
      if (differentiable || !method.needs.differentiableReward) return;
      throw new ConfigError(`method ${method.name} needs a differentiable reward, and ${name} is a black box`);
    };
    const materials = await openMaterials(config, progress, own, resources, { check, signal });
    const { pipeline, prompts, objective, heldOut, reported, opened, samplerOptions } = materials;
    const plan = samplers[config.sampler].plan(opened.process, config.samplingSteps, { ...samplerOptions, ...methodSampling(config, method) });
    const late = lateStart(opened.process, plan.steps[0]!.timestep);
    if (late) progress.warn(late);
    if (method.needs.density) stochasticSteps(plan);
    progress.phase('compiling');
    const memory = await materials.memory(plan, { method, options: methodOptions, averaged: config.ema !== null });
    const { microbatch, checkpointing } = memory.levers;
    const task = resources.use(await openPipelineTask(pipeline, { ...opened, plan, microbatch, checkpointing }));
    const idle = task.adapter ? unmatchedTargets(task.adapter, config.lora.targets) : [];
    if (idle.length > 0) progress.warn(`lora.targets: no layer's path ends in ${idle.join(' or ')}; the others are adapted`);
    const evaluator = await materials.evaluator(task);
    return {
      config: materials.config, pipeline, method, methodOptions, task, memory, prompts, objective, heldOut, evaluator, reported,
      manifest: { ...materials.manifest, method: { name: method.name, paper: method.paper } },
      release: () => resources.release(),
    };
  });
}

/** What the method's paper says of the sampler; every step must be a step of its own, with a density where that is needed. */
function methodSampling({ sampler }: RunConfig, { sampling: { noise, noisyEnd } }: Method<never>): SamplerOptions {
  if (sampler === 'ddim') return { eta: noise, lastStep: noisyEnd ? 'ddpo' : 'diffusers' };
  return sampler === 'dpm++2m-sde' ? { order: 1, finalSigma: 'min' } : {};
}

/** @file What it takes to measure a model, and no more: nothing is trained, and no method is asked for. */
import { ConfigError } from '../formats/errors.js';
import { releasedOnFailure } from '../host/resources.js';
import { openSampling } from '../sampling/model.js';
import type { PipelineSampling } from '../sampling/model.js';
import { lateStart } from '../schedulers/timesteps.js';
import type { Manifest } from '../runs/manifest.js';
import type { Progress } from '../runs/progress.js';
import type { RunConfig } from './config.js';
import type { Evaluator } from './evaluate.js';
import { openMaterials } from './materials.js';
import type { OwnModel } from './materials.js';

export interface Measuring {
  readonly config: RunConfig;
  readonly model: PipelineSampling;
  readonly evaluator: Evaluator;
  /** What identifies it: names, versions, seed. */
  readonly manifest: Manifest;
  release(): Promise<void>;
}

/**
 * Opens a model to measure it as a run of the configuration would, with any reward and whatever the method.
 *
 * @param signal ends whatever is done with it, with its reason
 */
export function openMeasuring(config: RunConfig, progress: Progress, own: OwnModel, signal?: AbortSignal): Promise<Measuring> {
  if (config.normalise) {
    throw new ConfigError('normalise: belongs to a training, which measures the base model first. Leave it out here, or give each reward the mean and std that manifest.json of a run has (baseRewards)');
  }
  return releasedOnFailure(async (resources) => {
    const materials = await openMaterials(config, progress, own, resources, { signal });
    const { pipeline, opened, evaluationPlan, manifest } = materials;
    const late = lateStart(opened.process, evaluationPlan.steps[0]!.timestep);
    if (late) progress.warn(late);
    progress.phase('compiling');
    const { levers: { microbatch } } = await materials.memory(evaluationPlan, null);
    const model = resources.use(await openSampling(pipeline, { ...opened, plan: evaluationPlan, microbatch }));
    const evaluator = await materials.evaluator(model);
    return { config, model, evaluator, manifest, release: () => resources.release() };
  });
}

/**
 * @file What `import … from 'attune/core'` gives: all that needs no files and no processes, for browsers as for Node. A
 * bundler for browsers takes onnxruntime-web for onnxruntime-node (package.json, `browser`); install it beside attune.
 */
export * as graph from './graph/index.js';
export { compile } from './runtime/compile.js';
export type { CompileOptions, Executable, Feeds } from './runtime/compile.js';
export { integers, normal, permutation, uniform } from './random/random.js';
export type { Key } from './random/random.js';

export { samplers } from './schedulers/index.js';
export type { SamplerName } from './schedulers/index.js';
export { sample } from './schedulers/sample.js';
export type { NoiseSource } from './schedulers/sample.js';
export { readSchedulerConfig } from './schedulers/scheduler-config.js';
export type { Plan, Step } from './schedulers/plan.js';

export { frozenWeights, rootScope, trainableWeights, weightShapes } from './nn/scope.js';
export type { Scope } from './nn/scope.js';
export { loraAdapter, loraParameters, planByTargets } from './nn/lora.js';
export { initialLora } from './nn/lora-values.js';

export { componentSchema, componentShapes } from './models/components.js';
export type { ComponentClass, ComponentConfigs } from './models/components.js';
export { families, registerFamily } from './models/families/registry.js';
export type { ModelFamily } from './models/families/family.js';
export { decodeImages, encodeImages } from './models/latents.js';
export { baseModelOf, conditionInputs, denoiserOf, latentShape } from './models/pipeline.js';
export type { Pipeline } from './models/pipeline.js';
export { createTokenizer } from './models/tokenizer.js';

export { METHODS } from './methods/index.js';
export type { Method, UpdateRule, Update } from './methods/method.js';
export type { Task } from './methods/task.js';
export { SEARCHES } from './search/index.js';
export { openExplorer } from './search/explorer.js';
export { sampleImages } from './sampling/sampler.js';

export { color } from './rewards/color.js';
export { compressibility, incompressibility } from './rewards/jpeg.js';
export { pixelReward } from './rewards/reward.js';
export type { BlackBoxReward, DifferentiableReward, Reward } from './rewards/reward.js';
export { openScorer } from './rewards/scorer.js';
export { symmetry } from './rewards/symmetry.js';
export { weightedSum } from './rewards/weighted.js';

export { diversity } from './evaluation/diversity.js';
export { frechetDistance, gaussianStatistics } from './evaluation/frechet.js';
export { guardVerdict } from './evaluation/hacking-guard.js';
export { renderReport } from './evaluation/report.js';

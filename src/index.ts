/**
 * @file What `import … from 'attune'` gives: whole training runs, and the parts of which rewards and methods of one's own
 * are made. `examples/own-reward.mjs` uses it.
 */
export * as graph from './formats/onnx/index.js';
export { compile } from './runtime/compile.js';
export type { CompileOptions, Executable, Feeds } from './runtime/compile.js';
export { readImage, writePng } from './formats/image.js';
export { loadPipeline } from './loading/load.js';
export type { Pipeline } from './models/pipeline.js';
export { openRewards, parseReward, REWARDS } from './rewards/registry.js';
export { pixelReward } from './rewards/reward.js';
export type { BlackBoxReward, DifferentiableReward, Reward } from './rewards/reward.js';
export { openScorer } from './rewards/scorer.js';
export { weightedSum } from './rewards/weighted.js';
export { METHODS } from './methods/index.js';
export type { Method, UpdateRule, Update } from './methods/method.js';
export type { Task } from './methods/task.js';
export { ConfigError } from './formats/errors.js';
export { configSchema, resolveConfig } from './training/config.js';
export type { RunConfig } from './training/config.js';
export type { Progress } from './runs/progress.js';
export { runTraining } from './training/run.js';
export type { RunOptions } from './training/run.js';
export type { Summary } from './runs/summary.js';
export type { Own } from './training/session.js';

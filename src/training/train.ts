/** @file Reward fine-tuning: rounds of a method, updates of the optimiser, evaluations, checkpoints, the guard. */
import { join } from 'node:path';
import { z } from 'zod';
import { judge } from '../evaluation/hacking-guard.js';
import type { Evaluation } from '../evaluation/hacking-guard.js';
import type { GaussianStatistics } from '../evaluation/frechet.js';
import { encodePng } from '../formats/image.js';
import { imageGrid } from '../formats/image-grid.js';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { accumulate } from '../methods/backprop.js';
import { meanOf } from '../methods/reward-loss.js';
import { peakBytes } from '../runtime/memory.js';
import type { Stepper, Update } from '../methods/method.js';
import { updateAdamW, initAdamW } from './adamw.js';
import type { AdamWState } from './adamw.js';
import { evaluationDue, spentShare } from './budget.js';
import type { Spent } from './budget.js';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import type { RunState } from './checkpoint.js';
import type { RunConfig } from './config.js';
import { updateEma } from './ema.js';
import type { Evaluator, Measured } from './evaluate.js';
import { learningRate } from './learning-rate.js';
import { clipNorm, copyOf, globalNorm, values } from './parameters.js';
import type { PipelineTask } from './pipeline-task.js';
import type { Progress } from './progress.js';
import { drawPrompts } from './prompts.js';
import type { PromptSet } from './prompts.js';
import type { MetricsRow, RunFolder } from './run-folder.js';

export interface TrainParts {
  config: RunConfig;
  task: PipelineTask;
  stepper: Stepper;
  prompts: PromptSet;
  evaluator: Evaluator;
  folder: RunFolder;
  resume: boolean;
  progress: Progress;
  shouldStop: () => boolean;
}

export interface TrainResult {
  readonly evaluations: readonly Evaluation[];
  /** Index of the best evaluation by the guard's rule. */
  readonly best: number;
  /** The parameters at the best evaluation. */
  readonly bestParameters: ReadonlyMap<string, HostTensor>;
  /** The base model's images and the last ones, of the same prompts and noise. */
  readonly before: Measured | null;
  /** Why it ended. */
  readonly ended: 'finished' | 'interrupted' | { readonly guard: string };
  readonly step: number;
  /** Seconds of training, evaluations and checkpoints not counted. */
  readonly seconds: number;
  /** The most memory that a process of the run took. */
  readonly peakBytes: number;
}

const storedValues = z.object({
  evaluations: z.array(z.custom<Evaluation>()),
  baseCount: z.number(),
  pending: z.int().nonnegative(),
  seconds: z.number().default(0),
  peakBytes: z.number().default(0),
});

interface State {
  step: number;
  round: number;
  seconds: number;
  peakBytes: number;
  optimizer: AdamWState;
  /** For the method's own parameters, if it has some. */
  ownOptimizer: AdamWState | null;
  average: Map<string, HostTensor> | null;
  /** Gradients of updates that wait for the rest of their accumulation. */
  gradients: Map<string, HostTensor>;
  pending: number;
  evaluations: Evaluation[];
  best: Map<string, HostTensor>;
  base: GaussianStatistics | null;
}

function freshState(parts: TrainParts): State {
  const { task, config, stepper } = parts;
  return {
    step: 0,
    round: 0,
    seconds: 0,
    peakBytes: 0,
    optimizer: initAdamW(task.parameters),
    ownOptimizer: stepper.own ? initAdamW(stepper.own.parameters) : null,
    average: config.ema === null ? null : copyOf(task.parameters),
    gradients: new Map(),
    pending: 0,
    evaluations: [],
    best: copyOf(task.parameters),
    base: null,
  };
}

function stored({ task, stepper }: TrainParts, state: State): RunState {
  const { optimizer, ownOptimizer, average, gradients, best, base } = state;
  const statistics = base && new Map([
    ['mean', host(base.mean, [base.mean.length], 'float64')],
    ['covariance', host(base.covariance, [base.mean.length, base.mean.length], 'float64')],
  ]);
  return {
    step: state.step,
    round: state.round,
    rewardQueries: task.counts.rewardQueries,
    denoiserCalls: task.counts.denoiserCalls,
    tensors: {
      parameters: task.parameters, m: optimizer.m, v: optimizer.v, gradients, best,
      ...(ownOptimizer && { own: stepper.own!.parameters, ownM: ownOptimizer.m, ownV: ownOptimizer.v }),
      ...(stepper.memory && { memory: stepper.memory }),
      ...(average && { average }),
      ...(statistics && { base: statistics }),
    },
    values: {
      evaluations: state.evaluations, baseCount: base?.count ?? 0, pending: state.pending,
      seconds: state.seconds, peakBytes: peakOf(state),
    },
  };
}

const peakOf = (state: State): number => Math.max(state.peakBytes, peakBytes());

function restored(parts: TrainParts, run: RunState): State {
  const { task, stepper } = parts;
  const kept = storedValues.parse(run.values);
  const set = (name: string): Map<string, HostTensor> => new Map(run.tensors[name] ?? []);
  for (const [name, t] of set('parameters')) task.parameters.set(name, t);
  for (const [name, t] of set('own')) values(stepper.own!.parameters.get(name)!).set(values(t));
  for (const [name, t] of set('memory')) stepper.memory!.set(name, t);
  Object.assign(task.counts, { rewardQueries: run.rewardQueries, denoiserCalls: run.denoiserCalls });
  const base = run.tensors['base'];
  return {
    step: run.step,
    round: run.round,
    seconds: kept.seconds,
    peakBytes: kept.peakBytes,
    optimizer: { step: run.step, m: set('m'), v: set('v') },
    ownOptimizer: stepper.own ? { step: run.step, m: set('ownM'), v: set('ownV') } : null,
    average: run.tensors['average'] ? set('average') : null,
    gradients: set('gradients'),
    pending: kept.pending,
    evaluations: kept.evaluations,
    best: set('best'),
    base: base ? {
      count: kept.baseCount,
      mean: base.get('mean')!.data as Float64Array,
      covariance: base.get('covariance')!.data as Float64Array,
    } : null,
  };
}

/** Runs until the steps or the budget are used up, an interruption or the guard. */
export async function train(parts: TrainParts): Promise<TrainResult> {
  const { config, task, stepper, folder, progress, evaluator } = parts;
  const checkpoints = join(folder.path, 'checkpoints');
  const found = parts.resume ? await loadCheckpoint(checkpoints, progress.warn) : null;
  const state = found ? restored(parts, found) : freshState(parts);
  await folder.rewind(found ? state.step : -1);
  let before: Measured | null = null;
  const recent: number[] = [];
  const spent = (): Spent => ({ step: state.step, rewardQueries: task.counts.rewardQueries, seconds: state.seconds });
  const over = (): boolean => state.pending === 0 && spentShare(config, spent()) >= 1;

  /** Evaluates with the averaged weights if there are any: they are what is saved. */
  async function evaluate(): Promise<MetricsRow> {
    progress.phase(state.step === 0 ? 'evaluating the base model' : `evaluating at step ${state.step}`);
    const own = copyOf(task.parameters);
    if (state.average) for (const [name, t] of state.average) values(task.parameters.get(name)!).set(values(t));
    const counts = { ...task.counts };
    const measured = await evaluator.measure(state.step, state.base);
    Object.assign(task.counts, counts); // what measuring costs is not the method's
    state.base ??= measured.statistics;
    state.evaluations.push(measured.evaluation);
    if (state.step === 0) before = measured;
    if (judge(state.evaluations, config.guard).best === state.evaluations.length - 1) state.best = copyOf(task.parameters);
    for (const [name, t] of own) values(task.parameters.get(name)!).set(values(t));
    await saveGrid(folder, measured, state.step);
    const { reward, heldOutReward, diversity, frechet } = measured.evaluation;
    return { step: state.step, evalReward: reward, diversity, frechet, ...(heldOutReward !== undefined && { heldOutReward }) };
  }

  async function checkpoint(): Promise<void> {
    await saveCheckpoint(checkpoints, stored(parts, state), 2);
  }

  function apply(update: Update): MetricsRow | null {
    accumulate(state.gradients, update.gradients);
    state.pending += 1;
    if (state.pending < config.accumulate) return null;
    for (const g of state.gradients.values()) {
      const x = values(g);
      for (let i = 0; i < x.length; i++) x[i]! /= state.pending;
    }
    const own = stepper.own?.parameters;
    const mine = own && new Map([...own.keys()].map((name) => [name, state.gradients.get(name)!]));
    const gradients = own ? new Map([...state.gradients].filter(([name]) => !own.has(name))) : state.gradients;
    const limited = (g: Map<string, HostTensor>): number => {
      const norm = config.clip === null ? globalNorm(g) : clipNorm(g, config.clip);
      if (!Number.isFinite(norm)) throw new Error(`the gradient became ${norm} at step ${state.step + 1}; lower --lr, or resume an earlier checkpoint`);
      return norm;
    };
    const norm = limited(gradients);
    const ownNorm = mine && limited(mine);
    const lr = learningRate(config.lr, state.step, config.steps, config.schedule, config.warmup);
    const { beta1, beta2, weightDecay } = config;
    updateAdamW(task.parameters, gradients, state.optimizer, lr, { beta1, beta2, epsilon: 1e-8, weightDecay });
    if (mine) {
      const { parameters, lr: ownLr, weightDecay: ownDecay } = stepper.own!;
      const factor = lr / config.lr; // the schedule is common
      updateAdamW(parameters, mine, state.ownOptimizer!, ownLr * factor, { beta1, beta2, epsilon: 1e-8, weightDecay: ownDecay });
    }
    if (state.average) updateEma(state.average, task.parameters, config.ema!, state.step);
    state.step += 1;
    state.gradients = new Map();
    state.pending = 0;
    // The method's own scalars never hide the trainer's.
    return {
      ...update.metrics,
      step: state.step, reward: meanOf(update.rewards), loss: update.loss, gradNorm: norm,
      ...(ownNorm !== undefined && { ownGradNorm: ownNorm }), lr,
    };
  }

  let ended: TrainResult['ended'] = 'finished';
  let saved = state.step;
  const costs = () => ({ ...task.counts, seconds: state.seconds });
  if (state.evaluations.length === 0) await folder.log({ ...(await evaluate()), ...costs() });
  const verdict = (): string | null => (config.guard.enabled ? (judge(state.evaluations, config.guard).stop?.reason ?? null) : null);
  const stopped = verdict();
  if (stopped !== null) ended = { guard: stopped };
  progress.phase(`training with ${config.method.name} from step ${state.step}`);
  let last = spent();
  let began = performance.now();
  while (ended === 'finished' && !over()) {
    const names = drawPrompts(parts.prompts, config.seed, state.round, task.batch);
    for await (const update of stepper.round(names, state.round)) {
      const row = apply(update);
      state.seconds += (performance.now() - began) / 1000;
      began = performance.now();
      if (!row) continue;
      const due = evaluationDue(config, last, spent());
      last = spent();
      recent.push(row['reward']!);
      progress.step(state.step, Math.round(state.step / spentShare(config, last)), trend(recent));
      const evaluated = due ? await evaluate() : {};
      await folder.log({ ...row, ...evaluated, ...costs() });
      const reason = due ? verdict() : null;
      if (reason !== null) ended = { guard: reason };
      began = performance.now();
      if (ended !== 'finished' || over()) break;
    }
    state.round += 1;
    if (parts.shouldStop() && ended === 'finished' && !over()) ended = 'interrupted';
    if (state.step - saved >= config.checkpointEvery || ended !== 'finished' || over()) {
      const pause = performance.now();
      await checkpoint();
      began += performance.now() - pause;
      saved = state.step;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { best } = judge(state.evaluations, config.guard);
  return { evaluations: state.evaluations, best, bestParameters: state.best, before, ended, ...spent(), peakBytes: peakOf(state) };
}

/** The reward and how it moves: the mean of the last updates against the mean of those before. */
function trend(rewards: readonly number[]): string {
  const half = Math.max(1, Math.min(10, Math.floor(rewards.length / 2)));
  const now = meanOf(rewards.slice(-half));
  const before = meanOf(rewards.slice(-2 * half, -half));
  const arrow = rewards.length < 2 || Number.isNaN(before) ? '' : now >= before ? ` ▲${(now - before).toPrecision(2)}` : ` ▼${(before - now).toPrecision(2)}`;
  return `reward ${now.toPrecision(4)}${arrow}`;
}

/** Pictures in a row of an evaluation's sheet, given the images of a prompt: three prompts a row. */
export const sheetColumns = (images: number): number => 3 * images;

/** Pictures of one prompt side by side. */
export async function saveGrid(folder: RunFolder, measured: Measured, step: number): Promise<void> {
  const sheet = await gridOf(measured);
  const [, height, width] = sheet.shape as [number, number, number];
  await folder.picture(`step-${String(step).padStart(6, '0')}`, await encodePng(sheet), width, height, step);
}

export async function gridOf({ images, prompts }: Pick<Measured, 'images' | 'prompts'>): Promise<HostTensor> {
  const pictures = prompts.map((_, i) => imageAt(images, i));
  const columns = sheetColumns(prompts.filter((p) => p === prompts[0]).length);
  return imageGrid(pictures, { columns, labels: prompts, minWidth: 96 });
}

/** Picture i of [N, 3, H, W] as [3, H, W]. */
export function imageAt(images: HostTensor, i: number): HostTensor {
  const [, ...shape] = images.shape;
  const size = shape.reduce((a, b) => a * b, 1);
  return host((images.data as Float32Array).subarray(i * size, (i + 1) * size), shape);
}

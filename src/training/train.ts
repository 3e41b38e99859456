/** @file Reward fine-tuning: rounds of a method, updates of the optimiser, evaluations, checkpoints, the guard. */
import { basename, join } from 'node:path';
import { meanOf } from '../evaluation/evaluation.js';
import { guardVerdict } from '../evaluation/hacking-guard.js';
import type { Judged } from '../evaluation/hacking-guard.js';
import { fewImagesText } from '../evaluation/kid.js';
import type { HostTensor } from '../graph/dtype.js';
import { pause } from '../host/pause.js';
import type { Pipeline } from '../models/pipeline.js';
import { updatesOf } from '../methods/work.js';
import { applyUpdate } from './apply-update.js';
import { measureBase } from './base-measures.js';
import { evaluationDue, spentShare } from './budget.js';
import type { Spent } from './budget.js';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import type { RunState } from './checkpoint.js';
import { firstSeed } from './evaluate.js';
import type { Evaluator, Measured } from './evaluate.js';
import { saveWeights } from './kept-weights.js';
import { copyOf, loadParameters } from './parameters.js';
import { drawPrompts } from './prompts.js';
import { withShortfalls } from './shortfalls.js';
import type { PromptSet } from './prompts.js';
import { savePictures } from '../runs/pictures.js';
import { evaluationRow } from '../runs/rows.js';
import type { RunFolder } from '../runs/folder.js';
import { atBase } from './final.js';
import { checkFits, freshState, peakOf, restored, roundStart, stored } from './train-state.js';
import type { RoundStart, Trained } from './train-state.js';

export interface TrainParts extends Trained {
  /** The base model's. */
  pipeline: Pipeline;
  prompts: PromptSet;
  evaluator: Evaluator;
  folder: RunFolder;
  resume: boolean;
  /** Once it is aborted the round under way is given up, and the run ends with what the last one left. */
  signal?: AbortSignal | undefined;
}

export interface TrainResult {
  readonly evaluations: readonly Judged[];
  /** Index of the best evaluation by the guard's rule. */
  readonly best: number;
  /** The parameters at the best evaluation. */
  readonly bestParameters: ReadonlyMap<string, HostTensor>;
  /** The last ones, averaged if there is an average; those of the task itself otherwise, which change with it. */
  readonly lastParameters: ReadonlyMap<string, HostTensor>;
  /** The base model's images; null in a process that has not measured them, since the run was begun by another. */
  readonly before: Measured | null;
  /** Why it ended. */
  readonly ended: 'finished' | 'interrupted' | { readonly guard: string };
  readonly step: number;
  /** Seconds of training, evaluations and checkpoints not counted. */
  readonly seconds: number;
  /** The most memory that a process of the run took. */
  readonly peakBytes: number;
}

/** Runs until the steps or the budget are used up, an interruption or the guard. */
export async function train(parts: TrainParts): Promise<TrainResult> {
  const { config, task, counts, rule, folder, evaluator, objective } = parts;
  const { progress } = folder;
  const checkpoints = join(folder.path, 'checkpoints');
  const average = config.ema === null ? null : task.copy('ema');
  const found = parts.resume ? await loadCheckpoint(checkpoints, progress.warn, (run) => checkFits(parts, run)) : null;
  const state = found ? restored(parts, found) : freshState(parts);
  await folder.rewind(found ? state.step : -1);
  let before: Measured | null = null;
  const recent: number[] = [];
  const spent = (): Spent => ({ step: state.step, rewardQueries: counts.rewardQueries, seconds: state.seconds });
  const over = (): boolean => spentShare(config, spent()) >= 1;

  /** The base model's pictures and their features, for a process that has not made them: the same again. */
  async function again(): Promise<Measured> {
    progress.phase('measuring the base model, which evaluations are held against');
    return atBase(parts, () => evaluator.measure(0, null));
  }

  /** Evaluates with the averaged weights if there are any: they are what is saved. */
  async function evaluate(): Promise<void> {
    progress.phase(state.step === 0 ? 'evaluating the base model' : `evaluating at step ${state.step}`);
    const own = copyOf(task.parameters);
    if (average) loadParameters(task.parameters, average);
    const measured = await evaluator.measure(state.step, state.step === 0 ? null : (before ??= await again()));
    state.evaluations.push(withShortfalls(measured.evaluation, state.evaluations[0], objective.constraints));
    if (state.step === 0) {
      before = measured;
      const few = measured.features && fewImagesText(...(measured.features.shape as [number, number]));
      if (few && config.guard.maxFrechet !== null) progress.warn(`guard.maxFrechet: ${few}`);
      else if (few) progress.phase(few);
    }
    const { best, stop } = guardVerdict(state.evaluations, config.guard);
    if (best === state.evaluations.length - 1) state.best = copyOf(task.parameters);
    loadParameters(task.parameters, own);
    await savePictures(folder, measured, { step: state.step, seed: firstSeed(parts) });
    const row = { ...evaluationRow(measured.evaluation), ...costs() };
    await folder.emit({ type: 'evaluation', row, best: state.evaluations[best]!.step, ...(stop && { stop: stop.reason }) });
  }

  /** What is asked for between two updates changes nothing that comes after. */
  async function answer(): Promise<void> {
    const asked = await folder.asked();
    if (asked.has('sample')) {
      progress.phase(`sampling at step ${state.step}, as asked`);
      const own = average && copyOf(task.parameters);
      if (average) loadParameters(task.parameters, average);
      try {
        await savePictures(folder, { images: await evaluator.sample(`asked for at step ${state.step}`), prompts: evaluator.selection.prompts }, { step: state.step, seed: firstSeed(parts) });
      } finally {
        if (own) loadParameters(task.parameters, own);
      }
    }
    if (asked.has('save')) await folder.emit({ type: 'saved', step: state.step, path: await saveWeights(folder.path, state.step, parts) });
  }

  let saved = { step: state.step, round: state.round };
  async function checkpoint(run: RunState): Promise<void> {
    const { step, round } = run;
    const path = await saveCheckpoint(checkpoints, run, 2);
    saved = { step, round };
    await folder.emit({ type: 'checkpoint', step, path: `checkpoints/${basename(path)}` });
  }
  const result = (ended: TrainResult['ended'], step: number): TrainResult => {
    const best = state.evaluations.length === 0 ? 0 : guardVerdict(state.evaluations, config.guard).best;
    return {
      evaluations: state.evaluations, best, bestParameters: state.best,
      lastParameters: average ?? task.parameters, before, ended, ...spent(), step, peakBytes: peakOf(state),
    };
  };
  /** The end of a run whose error is the interrupt; other errors are thrown. */
  async function interrupted(error: unknown, start: RunState | null): Promise<TrainResult> {
    if (!parts.signal?.aborted || error !== parts.signal.reason) throw error;
    if (start && (start.step !== saved.step || start.round !== saved.round)) await checkpoint(start);
    return result('interrupted', saved.step);
  }

  let ended: TrainResult['ended'] = 'finished';
  const costs = () => ({ ...counts, seconds: state.seconds });
  if (state.evaluations.length === 0) {
    try {
      if (objective.needsBase) await atBase(parts, () => measureBase(parts, progress));
      await evaluate();
    } catch (error) {
      return interrupted(error, null);
    }
  }
  const base = objective.base();
  if (base) await folder.amend({ baseRewards: base });
  const verdict = (): string | null => (config.guard.enabled ? (guardVerdict(state.evaluations, config.guard).stop?.reason ?? null) : null);
  const stopped = verdict();
  if (stopped !== null) ended = { guard: stopped };
  progress.phase(`training with ${config.method.name} from step ${state.step}`);
  let last = spent();
  let began = performance.now();

  /** The updates of a round, up to the end of the run or the guard's word. */
  async function round(start: RoundStart): Promise<void> {
    const prompts = drawPrompts(parts.prompts, config.seed, state.round, config.batch);
    objective.begin();
    for await (const update of updatesOf(task, rule, { round: state.round, prompts })) {
      start.keep();
      const updated = applyUpdate(parts, state, update);
      const { reward, metrics } = objective.after(update.rewards);
      const row = updated && { ...updated, ...metrics, ...(reward !== undefined && { reward }) };
      state.seconds += (performance.now() - began) / 1000;
      began = performance.now();
      if (!row) {
        progress.warn(`a gradient went beyond float16 and is left out; the loss scale is ${state.lossScale!.scale} now`);
        continue;
      }
      const due = evaluationDue(config, last, spent());
      last = spent();
      recent.push(row.reward!);
      progress.step(state.step, Math.round(state.step / spentShare(config, last)), trend(recent));
      await folder.emit({ type: 'step', round: update.round, update: update.update, row: { ...row, ...costs() }, ...(due && { evaluationFollows: true }) });
      if (due) await evaluate();
      const reason = due ? verdict() : null;
      if (reason !== null) ended = { guard: reason };
      await answer();
      began = performance.now();
      if (ended !== 'finished' || over()) break;
    }
    state.round += 1;
  }

  while (ended === 'finished' && !over()) {
    const start = roundStart(parts, state);
    try {
      await round(start);
    } catch (error) {
      return interrupted(error, start.state());
    }
    if (parts.signal?.aborted && ended === 'finished' && !over()) ended = 'interrupted';
    if (state.step - saved.step >= config.checkpointEvery || ended !== 'finished' || over()) {
      const pause = performance.now();
      await checkpoint(stored(parts, state));
      began += performance.now() - pause;
    }
    await pause();
  }
  return result(ended, state.step);
}

/** The reward and how it moves: the mean of the last updates against the mean of those before. */
function trend(rewards: readonly number[]): string {
  const half = Math.max(1, Math.min(10, Math.floor(rewards.length / 2)));
  const now = meanOf(rewards.slice(-half));
  const before = meanOf(rewards.slice(-2 * half, -half));
  const arrow = rewards.length < 2 || Number.isNaN(before) ? '' : now >= before ? ` ▲${(now - before).toPrecision(2)}` : ` ▼${(before - now).toPrecision(2)}`;
  return `reward ${now.toPrecision(4)}${arrow}`;
}

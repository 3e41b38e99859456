/** @file The loop that trains a network from scratch: AdamW, clipping, EMA, checkpoints that resume exactly. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../../formats/atomic.js';
import { openSafetensors, writeSafetensors } from '../../formats/safetensors.js';
import { MOST_BYTES, readTextIfThere } from '../../formats/whole-file.js';
import { readAll } from '../../formats/weights.js';
import type { HostTensor } from '../../graph/dtype.js';
import { grad } from '../../graph/grad.js';
import type { Tensor } from '../../graph/tensor.js';
import { compile } from '../../runtime/compile.js';
import type { Feeds } from '../../runtime/compile.js';
import { ADAMW_DEFAULTS, initAdamW, updateAdamW } from '../adamw.js';
import type { AdamWState } from '../adamw.js';
import { updateEma } from '../ema.js';
import { learningRate } from '../learning-rate.js';
import type { LearningRateSchedule } from '../learning-rate.js';
import { clipNorm, copyOf, values } from '../parameters.js';
import type { Progress } from '../progress.js';

/** A network with its loss, ready to be trained. */
export interface Trainable {
  /** Initial weights by name; training changes them in place. */
  readonly parameters: Map<string, HostTensor>;
  /** The graph inputs that stand for them. */
  readonly symbols: ReadonlyMap<string, Tensor>;
  /** Weights that the loss reads but that are not trained, by input name. */
  readonly frozen?: ReadonlyMap<string, HostTensor>;
  readonly loss: Tensor;
  /** Scalars worth watching. */
  readonly metrics: Readonly<Record<string, Tensor>>;
  /** What the loss needs at a step besides the weights: a function of the step alone, so that resuming is exact. */
  feeds(step: number): Feeds;
}

export interface FitOptions {
  steps: number;
  lr: number;
  schedule: LearningRateSchedule;
  warmup: number;
  weightDecay: number;
  clip: number;
  emaDecay: number;
  /** Folder for checkpoints and `metrics.jsonl`. */
  folder: string;
  resume: boolean;
  checkpointSeconds: number;
  threads?: number;
  progress: Progress;
  /** Asked after each step; true means: checkpoint and return. */
  shouldStop: () => boolean;
  /** Called with the averaged weights at each checkpoint. */
  onCheckpoint?: (average: ReadonlyMap<string, HostTensor>, step: number) => Promise<void>;
}

interface State {
  step: number;
  parameters: Map<string, HostTensor>;
  average: Map<string, HostTensor>;
  optimizer: AdamWState;
}

const MARK = 'latest.json';
const METRICS = 'metrics.jsonl';

async function save(folder: string, state: State): Promise<void> {
  const name = `state-${String(state.step).padStart(7, '0')}.safetensors`;
  const groups = { p: state.parameters, ema: state.average, m: state.optimizer.m, v: state.optimizer.v };
  const tensors = Object.entries(groups).flatMap(([g, map]) => [...map].map(([k, t]) => [`${g}/${k}`, t] as const));
  const before = await readMark(folder);
  await writeSafetensors(join(folder, name), tensors, { step: String(state.step) });
  // The mark moves only once the new file is whole; the old one goes only after that.
  await writeAtomic(join(folder, MARK), JSON.stringify({ file: name, step: state.step })).catch(async (error: unknown) => {
    if (before?.file !== name) await rm(join(folder, name), { force: true });
    throw error;
  });
  if (before && before.file !== name) await rm(join(folder, before.file), { force: true });
}

async function readMark(folder: string): Promise<{ file: string; step: number } | null> {
  const text = await readTextIfThere(join(folder, MARK), MOST_BYTES.note);
  if (text === null) return null;
  const mark = JSON.parse(text) as { file: string; step: number };
  if (!/^state-\d+\.safetensors$/.test(mark.file)) throw new Error(`${join(folder, MARK)} names no checkpoint`);
  return mark;
}

async function restore(folder: string, parameters: Map<string, HostTensor>): Promise<State | null> {
  const mark = await readMark(folder);
  if (!mark) return null;
  const source = await openSafetensors(join(folder, mark.file));
  const all = await readAll(source, 'float32');
  await source.close();
  const group = (g: string): Map<string, HostTensor> => new Map([...parameters].map(([name, p]) => {
    const t = all.get(`${g}/${name}`);
    if (!t || t.data.length !== p.data.length) {
      throw new Error(`${join(folder, mark.file)} does not fit this network (${name}): start in another folder`);
    }
    return [name, t];
  }));
  return {
    step: mark.step,
    parameters: group('p'),
    average: group('ema'),
    optimizer: { step: mark.step, m: group('m'), v: group('v') },
  };
}

/** The lines of metrics up to a step: an interrupted training goes on from its checkpoint. */
async function linesUpTo(step: number, folder: string): Promise<string[]> {
  const text = (await readTextIfThere(join(folder, METRICS), MOST_BYTES.log)) ?? '';
  const lines = text.split('\n').slice(0, -1);
  return lines.filter((line) => (JSON.parse(line) as { step: number }).step <= step).map((line) => `${line}\n`);
}

/**
 * Trains until `steps`, or until asked to stop. Returns the averaged weights and the step reached.
 *
 * @throws Error if the loss is no longer finite, naming the step; DiskFullError if a checkpoint finds no room; in both
 *   cases the last checkpoint stays as it was
 */
export async function fit(net: Trainable, options: FitOptions): Promise<{ average: Map<string, HostTensor>; step: number }> {
  const { folder, progress } = options;
  const names = [...net.symbols.keys()];
  progress.phase('compiling the training graph');
  const gradients = grad(net.loss, [...net.symbols.values()]);
  const outputs: Record<string, Tensor> = { loss: net.loss, ...net.metrics };
  names.forEach((name, i) => (outputs[`grad/${name}`] = gradients[i]!));
  const step = await compile({ outputs }, {
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(net.frozen ? { weights: net.frozen } : {}),
  });
  const state: State = (options.resume ? await restore(folder, net.parameters) : null) ?? {
    step: 0,
    parameters: net.parameters,
    average: copyOf(net.parameters),
    optimizer: initAdamW(net.parameters),
  };
  const log = await linesUpTo(state.step, folder);
  let saved = Date.now();
  const checkpoint = async (): Promise<void> => {
    // Before the state: a line too many is dropped on resume, one too few would be lost.
    await writeAtomic(join(folder, METRICS), log.join(''));
    await save(folder, state);
    await options.onCheckpoint?.(state.average, state.step);
    saved = Date.now();
  };
  progress.phase(`training from step ${state.step} to ${options.steps}`);
  const recent: number[] = [];
  while (state.step < options.steps && !options.shouldStop()) {
    const began = performance.now();
    const feeds: Record<string, HostTensor> = { ...net.feeds(state.step) };
    for (const [name, symbol] of net.symbols) feeds[symbol.node.name!] = state.parameters.get(name)!;
    const result = await step.run(feeds);
    const loss = values(result.loss!)[0]!;
    if (!Number.isFinite(loss)) throw new Error(`the loss became ${loss} at step ${state.step}; lower --lr`);
    const grads = new Map(names.map((name) => [name, result[`grad/${name}`]!]));
    const norm = clipNorm(grads, options.clip);
    const lr = learningRate(options.lr, state.step, options.steps, options.schedule, options.warmup);
    updateAdamW(state.parameters, grads, state.optimizer, lr, { ...ADAMW_DEFAULTS, weightDecay: options.weightDecay });
    updateEma(state.average, state.parameters, options.emaDecay, state.step);
    state.step += 1;
    recent.push(loss);
    if (recent.length > 100) recent.shift();
    const seconds = (performance.now() - began) / 1000;
    const metrics = Object.fromEntries(Object.keys(net.metrics).map((k) => [k, values(result[k]!)[0]!]));
    log.push(`${JSON.stringify({ step: state.step, loss, ...metrics, gradNorm: norm, lr, seconds })}\n`);
    const mean = recent.reduce((a, b) => a + b, 0) / recent.length;
    progress.step(state.step, options.steps, `loss ${mean.toPrecision(4)}, ${seconds.toFixed(2)} s/step`);
    if (Date.now() - saved > options.checkpointSeconds * 1000) await checkpoint();
    // Lets signals and messages through between two steps.
    await new Promise((resolve) => setImmediate(resolve));
  }
  await checkpoint();
  await step.release();
  return { average: state.average, step: state.step };
}

/** @file The loop that trains a network from scratch: AdamW, clipping, EMA, checkpoints that resume exactly. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeAtomic } from '../../formats/atomic.js';
import { tellFullDisk } from '../../formats/disk-full.js';
import { FormatError } from '../../formats/errors.js';
import { openSafetensors, writeSafetensors } from '../../formats/safetensors.js';
import { MOST_BYTES, readTextIfThere } from '../../formats/whole-file.js';
import { readAll } from '../../formats/weights.js';
import type { HostTensor } from '../../graph/dtype.js';
import { grad } from '../../graph/grad.js';
import type { Tensor } from '../../graph/tensor.js';
import { pause } from '../../host/pause.js';
import { compile, throwIfAborted } from '../../runtime/compile.js';
import type { Feeds } from '../../runtime/compile.js';
import { openResources } from '../../host/resources.js';
import { ADAMW_DEFAULTS, initAdamW, updateAdamW } from '../adamw.js';
import type { AdamWState } from '../adamw.js';
import { setAside } from '../checkpoint.js';
import { hashTensors } from '../digest.js';
import { updateEma } from '../ema.js';
import { learningRate } from '../learning-rate.js';
import type { LearningRateSchedule } from '../learning-rate.js';
import { clipNorm, copyOf, values } from '../parameters.js';
import type { Progress } from '../../runs/progress.js';
import type { NewEvent } from '../../runs/events.js';
import { parseRows, rowText } from '../../runs/rows.js';

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
  /** Told of updates and checkpoints, and from where a training goes on. */
  emit?: (event: NewEvent) => Promise<void>;
  resume: boolean;
  checkpointSeconds: number;
  threads?: number;
  progress: Progress;
  /** Once it is aborted the step under way is the last: what was learnt is saved, and its reason thrown. */
  signal?: AbortSignal;
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

/** A checkpoint; the mark's own is the newest, and the one before stays as long as it is. */
const markSchema = z.object({
  file: z.string().regex(/^state-\d+\.safetensors$/),
  step: z.int().nonnegative(),
  /** Of its tensors; those of attune 0.1.0 have none. */
  sum: z.string().optional(),
});
const marksSchema = markSchema.extend({ before: markSchema.optional() });
type Mark = z.infer<typeof markSchema>;

/** @returns the checkpoint's file */
async function save(folder: string, state: State): Promise<string> {
  const file = `state-${String(state.step).padStart(7, '0')}.safetensors`;
  const groups = { p: state.parameters, ema: state.average, m: state.optimizer.m, v: state.optimizer.v };
  const tensors = Object.entries(groups).flatMap(([g, map]) => [...map].map(([k, t]) => [`${g}/${k}`, t] as const));
  const known = await readMarks(folder);
  await writeSafetensors(join(folder, file), tensors, { step: String(state.step) });
  // The mark moves only once the new file is whole; the old ones go only after that.
  const before = known.find((mark) => mark.file !== file);
  const mark = { file, step: state.step, sum: hashTensors(new Map(tensors)), ...(before && { before }) };
  await writeAtomic(join(folder, MARK), JSON.stringify(mark)).catch(async (error: unknown) => {
    if (known[0]?.file !== file) await rm(join(folder, file), { force: true });
    throw error;
  });
  for (const old of known) if (old.file !== file && old.file !== before?.file) await rm(join(folder, old.file), { force: true });
  return join(folder, file);
}

/** The checkpoints of a folder, newest first. @throws FormatError if the mark cannot be read */
async function readMarks(folder: string): Promise<Mark[]> {
  const path = join(folder, MARK);
  const text = await readTextIfThere(path, MOST_BYTES.note);
  if (text === null) return [];
  try {
    const { before, ...newest } = marksSchema.parse(JSON.parse(text));
    return before ? [newest, before] : [newest];
  } catch (cause) {
    throw new FormatError(path, 'names no checkpoint', 'Start in another folder (--work), or without --resume.', { cause });
  }
}

/** The newest checkpoint that is whole; one that is not is told. @throws FormatError if there are some and none is */
async function restore(folder: string, parameters: Map<string, HostTensor>, { warn }: Progress): Promise<State | null> {
  const marks = await readMarks(folder);
  for (const [i, mark] of marks.entries()) {
    try {
      const state = await readState(join(folder, mark.file), mark, parameters);
      if (i > 0) {
        await writeAtomic(join(folder, MARK), JSON.stringify(mark));
        for (const { file } of marks.slice(0, i)) await setAside(join(folder, file)).catch(() => {}); // it may be gone
      }
      return state;
    } catch (error) {
      warn(`checkpoint ${mark.file} is passed over: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (marks.length === 0) return null;
  throw new FormatError(folder, 'holds no checkpoint that can be used', 'Start in another folder (--work), or without --resume.');
}

async function readState(path: string, { step, sum }: Mark, parameters: Map<string, HostTensor>): Promise<State> {
  const remedy = 'Start in another folder (--work).';
  const source = await openSafetensors(path);
  const all = await readAll(source).finally(() => source.close());
  if (sum !== undefined && sum !== hashTensors(all)) throw new FormatError(path, 'is not as it was written (its checksum is another)', remedy);
  const group = (g: string): Map<string, HostTensor> => new Map([...parameters].map(([name, p]) => {
    const t = all.get(`${g}/${name}`);
    if (t?.dtype !== 'float32' || t.shape.join() !== p.shape.join()) {
      throw new FormatError(path, `does not fit this network (${name})`, remedy);
    }
    return [name, t];
  }));
  return { step, parameters: group('p'), average: group('ema'), optimizer: { step, m: group('m'), v: group('v') } };
}

/** The lines of metrics up to a step: an interrupted training goes on from its checkpoint. */
async function linesUpTo(step: number, folder: string, { warn }: Progress): Promise<string[]> {
  const text = (await readTextIfThere(join(folder, METRICS), MOST_BYTES.log)) ?? '';
  const rows = parseRows(text, join(folder, METRICS), 'It is left out.', (error) => warn(error.message));
  return rows.filter((row) => row.step <= step).map(rowText);
}

/**
 * Trains until `steps`. Returns the averaged weights and the step reached.
 *
 * @throws the signal's reason once that is aborted, after a checkpoint if there is something new to save; Error if the loss is no longer finite, naming the step; DiskFullError if a checkpoint finds no room; in both
 *   cases the last checkpoint stays as it was
 */
export async function fit(net: Trainable, options: FitOptions): Promise<{ average: Map<string, HostTensor>; step: number }> {
  const { folder, progress, emit = async () => {} } = options;
  await using resources = openResources();
  await tellFullDisk(folder, null, () => mkdir(folder, { recursive: true }));
  const names = [...net.symbols.keys()];
  progress.phase('compiling the training graph');
  const gradients = grad(net.loss, [...net.symbols.values()]);
  const outputs: Record<string, Tensor> = { loss: net.loss, ...net.metrics };
  names.forEach((name, i) => (outputs[`grad/${name}`] = gradients[i]!));
  await throwIfAborted(options.signal);
  const step = resources.use(await compile({ outputs }, {
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(net.frozen ? { weights: net.frozen } : {}),
    ...(options.signal && { signal: options.signal }),
  }));
  const state: State = (options.resume ? await restore(folder, net.parameters, progress) : null) ?? {
    step: 0,
    parameters: net.parameters,
    average: copyOf(net.parameters),
    optimizer: initAdamW(net.parameters),
  };
  if (options.resume) await emit({ type: 'resumed', step: state.step });
  const log = await linesUpTo(state.step, folder, progress);
  let saved = { at: Date.now(), step: state.step };
  const checkpoint = async (): Promise<void> => {
    // Before the state: a line too many is dropped on resume, one too few would be lost.
    await writeAtomic(join(folder, METRICS), log.join(''));
    const path = await save(folder, state);
    await emit({ type: 'checkpoint', step: state.step, path });
    await options.onCheckpoint?.(state.average, state.step);
    saved = { at: Date.now(), step: state.step };
  };
  progress.phase(`training from step ${state.step} to ${options.steps}`);
  const recent: number[] = [];
  async function update(): Promise<void> {
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
    const row = { step: state.step, loss, ...metrics, gradNorm: norm, lr, seconds };
    log.push(rowText(row));
    await emit({ type: 'step', row });
    const mean = recent.reduce((a, b) => a + b, 0) / recent.length;
    progress.step(state.step, options.steps, `loss ${mean.toPrecision(4)}, ${seconds.toFixed(2)} s/step`);
    if (Date.now() - saved.at > options.checkpointSeconds * 1000) await checkpoint();
    // Lets signals and messages through between two steps.
    await pause();
  }
  try {
    while (state.step < options.steps) await update();
  } catch (error) {
    if (options.signal?.aborted && error === options.signal.reason && state.step > saved.step) await checkpoint();
    throw error;
  }
  await checkpoint();
  return { average: state.average, step: state.step };
}

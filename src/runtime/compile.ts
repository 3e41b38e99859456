/** @file Compiles a graph once and runs it many times. */
import type { HostTensor, TypedArray } from '../graph/dtype.js';
import { describeShape } from '../graph/errors.js';
import { exportOnnx, graphInputs } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import type { Tensor } from '../graph/tensor.js';
import { pause } from '../host/pause.js';
import { asFed, createSession, toDevice, toHost } from './device.js';
import type { Device, DeviceValue, SessionOptions } from './device.js';
import { deviceFailure } from './device-failure.js';
import { lookup, share } from './frozen.js';
import type { SharedValue, Weights } from './frozen.js';
import { isStored } from './stored-weights.js';
import type { DeviceCopies } from './device-copies.js';
import { countTraffic, openGpu } from './gpu-buffers.js';
import { HIDING } from './hidden-shapes.js';
import { lowered } from './lower.js';
import { refuseHuge } from './webgpu.js';
import { isFinite, nonFiniteError } from './non-finite.js';
import { openPooled } from './session-pool.js';
import type { RunningSession, SessionPool } from './session-pool.js';

export interface CompileOptions {
  device?: Device;
  /** Threads for one operator; all cores by default. */
  threads?: number;
  /**
   * Values of frozen weights (and of anything else that stays): given once. On the CPU every run reads these arrays
   * themselves; on WebGPU they are uploaded once. Executables over the same arrays share what is made of them. Frozen
   * weights of float32 may be given in half precision: they stay so in memory and are widened at each use.
   */
  weights?: Weights;
  /**
   * Compute what depends on `weights` alone (the rotated kernels of convolution gradients, for instance) once instead of
   * at every run. It costs memory up to the size of the weights concerned; on by default.
   */
  hoist?: boolean;
  /**
   * Make the weights part of the session, which ONNX Runtime then lays out as its kernels like them best; the session
   * keeps copies of its own. On by default with CUDA (where they would be uploaded at every run), off otherwise.
   */
  bake?: boolean;
  /**
   * Hide shapes from ONNX Runtime's planner on the CPU, so that memory is free after its last use: less memory for large
   * graphs with checkpoints, but opening a session of many thousand operators takes several times as long. Off by default.
   */
  hideShapes?: boolean;
  /**
   * Channels in a block of the convolutions' layout on the CPU: this machine's by default. Null leaves convolutions to
   * ONNX Runtime, as on processors without such a layout; with another machine's number the graph can be looked at, not run.
   */
  channelBlock?: number | null;
  /** Once it is aborted, compiling and every further run throw its reason: an interrupt waits for one run or session at most. */
  signal?: AbortSignal;
  /** After each run look for NaN and infinity in the outputs, and name the operator that made the first one. */
  checkFinite?: boolean;
  /** Inputs that are uploaded on WebGPU when they have changed; whoever opened it releases it after all that is compiled with it. */
  copies?: DeviceCopies | undefined;
  /** Where sessions on the CPU are opened instead of here, so that several runs can go on at once. */
  pool?: SessionPool | undefined;
  /** Further ONNX Runtime session options. */
  session?: SessionOptions;
}

/** Where a computation runs, and what ends it early: what callers pass through to all that they compile. */
export type Execution = Pick<CompileOptions, 'device' | 'threads' | 'signal'>;

/**
 * Lets the signals and messages through that came during the last run or while a session was opened (ONNX Runtime blocks
 * the thread, and neither can be broken off).
 *
 * @throws the signal's reason if it is aborted
 */
export async function throwIfAborted(signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return;
  await pause();
  signal.throwIfAborted();
}

export type Feeds = Readonly<Record<string, HostTensor>>;

/** A compiled computation with output names `O`. */
export interface Executable<O extends string = string> {
  /**
   * Inputs that this computation does not have are ignored.
   *
   * @throws Error naming the input that is missing, of another shape or dtype, or fixed; NonFiniteError with `checkFinite`;
   *   the signal's reason once that is aborted
   */
  run(feeds: Feeds): Promise<Record<O, HostTensor>>;
  /** Frees the session and its share of the weights, once; running it afterwards is an error. */
  release(): Promise<void>;
  readonly session: RunningSession;
  /** What was asked for, and how. */
  readonly graph: Graph & { outputs: Readonly<Record<O, Tensor>> };
  readonly options: CompileOptions;
  /** What the session computes in its place, with the operators that suit the device. */
  readonly compiled: Graph;
  /** Bytes of what was made of the weights and is held beside them; executables over the same weights share it. */
  readonly derivedBytes: number;
}

function check(name: string, expected: Tensor, value: HostTensor): void {
  const same = value.dtype === expected.dtype && describeShape(value.shape) === describeShape(expected.shape);
  if (!same) {
    const given = `${value.dtype}${describeShape(value.shape)}`;
    throw new Error(`input ${name} takes ${expected}, not ${given}`);
  }
}

const bytesOf = (data: TypedArray): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** The options of ONNX Runtime for a session of ours. */
function sessionOptions({ threads, session }: CompileOptions): SessionOptions {
  return {
    graphOptimizationLevel: 'all',
    // Planning all of a run's memory as one block keeps what the first, unplanned run took as well: 1.4 times the peak of
    // an update (docs/decisions.md).
    enableMemPattern: false,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    // What fails is thrown; its log would go past our output, with whatever a model's file has for names.
    logSeverityLevel: 4,
    // Threads that spin for long halve the speed as soon as another process wants the cores; threads that never spin wait
    // for each other at every small operator. A few microseconds have the gain without the loss (docs/decisions.md).
    extra: { session: { intra_op: { allow_spinning: '1', spin_duration_us: '20' } } },
    ...session,
  };
}

/**
 * Compiles the computation of `graph.outputs`. Every input that is not among `weights` must be fed at each run.
 *
 * @throws TraceError if the graph is not well formed; DeviceError if the device cannot be used; Error if a weight does
 * not fit its input; the signal's reason if that was aborted meanwhile.
 */
export async function compile<O extends string>(
  graph: Graph & { outputs: Readonly<Record<O, Tensor>> },
  options: CompileOptions = {},
): Promise<Executable<O>> {
  const { device = 'cpu', weights = {} } = options;
  const ort = sessionOptions(options);
  await throwIfAborted(options.signal);
  if (device === 'webgpu') {
    refuseHuge(graph);
    await openGpu();
  }
  // Not those of the compiled graph: what is made of a weight may replace it there.
  const asked = graphInputs(graph);
  const given = new Set<string>();
  for (const [name, t] of asked) {
    const value = lookup(weights, name);
    if (!value) continue;
    check(name, t, isStored(t, value) ? { ...value, dtype: t.dtype } : value);
    given.add(name);
  }
  const { compiled, parts, hidden, baked: bake } = await lowered(graph, options);
  const expected = graphInputs(compiled);
  const fixed = new Map<string, DeviceValue>();
  const shared: SharedValue[] = [];
  const letGo = (error: unknown): never => {
    for (const part of shared.splice(0)) part.release();
    throw error;
  };
  const baked = new Map<string, HostTensor>();
  for (const [name, t] of expected) {
    const value = (hidden ? HIDING.get(name) : undefined) ?? lookup(weights, name);
    const part = parts.get(name) ?? (value && device === 'webgpu' ? t : undefined);
    if (value && bake) baked.set(name, asFed(value));
    else if (part) {
      const held = await throwIfAborted(options.signal).then(() => share(part, weights, device, ort)).catch(letGo);
      shared.push(held);
      fixed.set(name, held.value);
    } else if (value) fixed.set(name, toDevice(asFed(value)));
  }
  await throwIfAborted(options.signal).catch(letGo); // what came before may have taken its time
  const externalData = [...baked].map(([path, { data }]) => ({ path, data: bytesOf(data) }));
  const model = exportOnnx({ ...compiled, baked });
  // Their workers keep what is fixed.
  const pooled = device === 'cpu' && !bake ? options.pool : undefined;
  const session = await (pooled ? openPooled(pooled, model, ort, fixed) : createSession(model, device, { ...ort, externalData })).catch(letGo);
  await throwIfAborted(options.signal).catch(async (error: unknown) => {
    await session.release();
    letGo(error);
  });
  const names = Object.keys(graph.outputs) as O[];
  let released = false;
  const executable: Executable<O> = {
    session,
    graph,
    options,
    compiled,
    derivedBytes: [...new Map(shared.map(({ made, bytes }) => [made, bytes])).values()].reduce((sum, n) => sum + n, 0),
    async run(feeds) {
      await throwIfAborted(options.signal);
      const values = pooled ? {} : Object.fromEntries(fixed);
      let fed = 0;
      for (const [name, t] of asked) {
        const value = lookup(feeds, name);
        if (value) {
          // Other values may have been made of it.
          if (given.has(name)) throw new Error(`input ${name} was given as a weight when compiling; it cannot change`);
          check(name, t, value);
          if (device === 'webgpu' && options.copies?.keeps(name)) values[name] = await options.copies.value(name, value);
          else {
            values[name] = toDevice(value);
            fed += value.data.byteLength;
          }
        } else if (!given.has(name)) throw new Error(`input ${name} (${t}) was not given`);
      }
      const results = await session.run(values).catch((error: unknown) => {
        throw deviceFailure(device, error);
      });
      const outputs = Object.fromEntries(names.map((n) => [n, toHost(results[n]!, graph.outputs[n].dtype)])) as Record<O, HostTensor>;
      if (device !== 'cpu') countTraffic(fed, names.reduce((sum, n) => sum + outputs[n].data.byteLength, 0));
      if (options.checkFinite && !names.every((n) => isFinite(outputs[n]))) throw await nonFiniteError(compile, executable, feeds);
      return outputs;
    },
    async release() {
      if (released) return;
      released = true;
      for (const part of shared.splice(0)) part.release();
      await session.release();
    },
  };
  return executable;
}

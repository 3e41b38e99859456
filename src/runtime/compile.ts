/** @file Compiles a graph once and runs it many times. */
import type { HostTensor } from '../graph/dtype.js';
import { describeShape } from '../graph/errors.js';
import { exportOnnx, graphInputs } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import type { Tensor } from '../graph/tensor.js';
import { createSession, toDevice, toHost } from './device.js';
import type { Device, DeviceValue, Session, SessionOptions } from './device.js';

export interface CompileOptions {
  device?: Device;
  /** Threads for one operator; all cores by default. */
  threads?: number;
  /** Values of frozen weights (and of anything else that stays): given once, fed at each run without a copy. */
  weights?: ReadonlyMap<string, HostTensor> | Readonly<Record<string, HostTensor>>;
  /** Further ONNX Runtime session options. */
  session?: SessionOptions;
}

export type Feeds = Readonly<Record<string, HostTensor>>;

/** A compiled computation with output names `O`. */
export interface Executable<O extends string = string> {
  /** @throws Error naming the input that is missing, unknown, or of another shape or dtype. */
  run(feeds: Feeds): Promise<Record<O, HostTensor>>;
  /** Frees the session; running it afterwards is an error. */
  release(): Promise<void>;
  readonly session: Session;
}

function lookup(weights: CompileOptions['weights'], name: string): HostTensor | undefined {
  return weights instanceof Map ? weights.get(name) : (weights as Record<string, HostTensor> | undefined)?.[name];
}

function check(name: string, expected: Tensor, value: HostTensor): void {
  const same = value.dtype === expected.dtype && describeShape(value.shape) === describeShape(expected.shape);
  if (!same) {
    const given = `${value.dtype}${describeShape(value.shape)}`;
    throw new Error(`input ${name} takes ${expected}, not ${given}`);
  }
}

/**
 * Compiles the computation of `graph.outputs`. Every input that is not among `weights` must be fed at each run.
 *
 * @throws TraceError if the graph is not well formed; DeviceError if the device cannot be used.
 */
export async function compile<O extends string>(
  graph: Graph & { outputs: Readonly<Record<O, Tensor>> },
  options: CompileOptions = {},
): Promise<Executable<O>> {
  const { device = 'cpu', threads, weights } = options;
  const expected = graphInputs(graph);
  const fixed: Record<string, DeviceValue> = {};
  for (const [name, t] of expected) {
    const value = lookup(weights, name);
    if (!value) continue;
    check(name, t, value);
    fixed[name] = toDevice(value);
  }
  const session = await createSession(exportOnnx(graph), device, {
    graphOptimizationLevel: 'all',
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    logSeverityLevel: 3,
    // Spinning threads halve the speed as soon as another process wants the cores (docs/decisions.md).
    extra: { session: { intra_op: { allow_spinning: '0' } } },
    ...options.session,
  });
  const names = Object.keys(graph.outputs) as O[];
  return {
    session,
    async run(feeds) {
      const values: Record<string, DeviceValue> = { ...fixed };
      for (const [name, t] of expected) {
        const value = feeds[name];
        if (value) {
          check(name, t, value);
          values[name] = toDevice(value);
        } else if (!values[name]) throw new Error(`input ${name} (${t}) was not given`);
      }
      const results = await session.run(values);
      return Object.fromEntries(names.map((n) => [n, toHost(results[n]!, graph.outputs[n].dtype)])) as Record<O, HostTensor>;
    },
    release: () => session.release(),
  };
}

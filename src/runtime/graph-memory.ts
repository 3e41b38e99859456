/** @file The memory that a compiled graph takes, foretold from its shapes before a session is opened. */
import { flopsOf } from '../graph/flops.js';
import { graphInputs, schedule } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import { resolve } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { bytesOf, memorySteps } from './buffer-plan.js';
import type { CompileOptions } from './compile.js';
import { cpuArenaBytes } from './cpu-arena.js';
import { lookup, shareKey } from './frozen.js';
import { gpuBufferBytes, gpuPoolBytes } from './gpu-pool.js';
import { labelOf } from './label.js';
import { lowered } from './lower.js';

/** What ONNX Runtime keeps of a session and of each operator in it: measured, see docs/decisions.md. */
const SESSION_BYTES = 8 * 2 ** 20;
const OPERATOR_BYTES = 8 * 1024;

export interface GraphMemory {
  /** Most bytes of values at once, as the provider's allocator holds them; on the device if there is one. */
  readonly values: number;
  /** Bytes of the session itself, on the host. */
  readonly session: number;
  /** Bytes of the inputs that each run is fed and of the outputs that it gives, on the host. */
  readonly fed: number;
  /**
   * What lies in memory for the graph and others over the same weights, by what it is: what is made of weights beforehand,
   * and on a device the weights themselves.
   */
  readonly held: ReadonlyMap<string, number>;
  /** The largest single tensor, weights on a device included. */
  readonly largest: { readonly bytes: number; readonly name: string };
  /** Floating-point operations of a run, products and convolutions only. */
  readonly flops: number;
  readonly operators: number;
}

/** A tensor for a message: a weight by its name, a value by its operator and the weights that it reads. */
function nameOf(t: Tensor | null): GraphMemory['largest'] {
  return t ? { bytes: bytesOf(t), name: `${t.node.op === '@input' ? t.node.name! : labelOf(t.node)}, ${t}` } : { bytes: 0, name: '' };
}

/** What the graph would take if it were compiled with these options. Of the weights only shapes and types matter. */
export async function graphMemory(graph: Graph, options: CompileOptions = {}): Promise<GraphMemory> {
  const { device = 'cpu', weights = {} } = options;
  const { compiled, parts, hidden, baked } = await lowered(graph, options);
  const inputs = graphInputs(compiled);
  const given = (name: string): boolean => lookup(weights, name) !== undefined || parts.has(name);
  const onDevice = device !== 'cpu';
  const held = new Map<string, number>();
  let most: Tensor | null = null;
  const see = (t: Tensor): void => {
    if (!most || bytesOf(t) > bytesOf(most)) most = t;
  };
  for (const [name, t] of inputs) {
    if (onDevice) see(t);
    if (!given(name) || (!onDevice && !parts.has(name) && !baked)) continue;
    // A session has copies of its own of what is baked into it.
    const key = baked ? `${name} of ${Object.keys(graph.outputs).join()}` : shareKey(parts.get(name) ?? t, weights, device);
    held.set(key, device === 'webgpu' ? gpuBufferBytes(bytesOf(t)) : bytesOf(t));
  }
  const copied = (t: Tensor): boolean => onDevice && !given(t.node.name!);
  const steps = memorySteps(compiled.outputs, { reuse: !hidden, copied });
  for (const { makes } of steps) for (const { holds } of makes) see(holds);
  const nodes = schedule(Object.values(compiled.outputs));
  const constants = nodes.reduce((sum, { op, outputs }) => sum + (op === '@constant' ? bytesOf(outputs[0]!) : 0), 0);
  const operators = nodes.filter(({ op }) => !op.startsWith('@')).length;
  const outputs = Object.values(graph.outputs).map(resolve);
  return {
    values: (device === 'webgpu' ? gpuPoolBytes(steps) : cpuArenaBytes(steps)) + (onDevice ? constants : 0),
    session: SESSION_BYTES + operators * OPERATOR_BYTES + constants,
    fed: [...graphInputs(graph)].filter(([name]) => !lookup(weights, name)).reduce((sum, [, t]) => sum + bytesOf(t), 0)
      + outputs.reduce((sum, t) => sum + bytesOf(t), 0),
    held, operators,
    largest: nameOf(most),
    flops: flopsOf(graph.outputs),
  };
}

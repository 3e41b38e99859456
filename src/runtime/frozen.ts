/**
 * @file What depends on frozen weights alone: found in a graph, computed once, shared by all executables over the same
 * weights, and fed afterwards. The rotated kernels of convolution gradients are the case that matters: at 16 × 16 × 1280
 * rotating takes as long as the convolution (docs/decisions.md).
 */
import { bytesPerElement, sizeOf } from '../graph/dtype.js';
import type { HostTensor, TypedArray } from '../graph/dtype.js';
import { exportOnnx, schedule, valueName } from '../graph/onnx/export.js';
import type { Graph } from '../graph/onnx/export.js';
import { applyMany, resolve, weight } from '../graph/tensor.js';
import type { Node, Tensor } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { asFed, createSession, toDevice, toHost } from './device.js';
import type { Device, DeviceValue, SessionOptions } from './device.js';
import { upload } from './gpu-buffers.js';
import type { GpuBuffer } from './gpu-buffers.js';
import { rewrite } from './rewrite.js';

export type Weights = ReadonlyMap<string, HostTensor> | Readonly<Record<string, HostTensor>>;

/** A weight by its name, which may come from a file: `constructor` is none that every object has. */
export function lookup(weights: Weights, name: string): HostTensor | undefined {
  if (weights instanceof Map) return weights.get(name);
  return Object.hasOwn(weights, name) ? (weights as Readonly<Record<string, HostTensor>>)[name] : undefined;
}

/** The same numbers as `leaf`, in another shape at most. */
function viewed(tensor: Tensor): Tensor {
  let t = resolve(tensor);
  while (t.node.op === 'Reshape') t = resolve(t.node.inputs[0]!);
  return t;
}

const bytes = (t: { shape: readonly number[]; dtype: HostTensor['dtype'] }): number => sizeOf(t.shape) * bytesPerElement(t.dtype);

/** The operators that depend on constants and on frozen weights with known values alone, each with those weights. */
export function frozenNodes(graph: Graph, weights: Weights): Map<Node, ReadonlySet<Tensor>> {
  const made = new Map<Node, ReadonlySet<Tensor>>();
  for (const node of schedule(Object.values(graph.outputs))) {
    const inputs = node.inputs.flatMap((t) => (t ? [resolve(t).node] : []));
    if (node.op === '@constant') made.set(node, new Set());
    else if (node.op === '@input') {
      if (node.frozen && lookup(weights, node.name!)) made.set(node, new Set(node.outputs));
    } else if (inputs.every((from) => made.has(from))) made.set(node, new Set(inputs.flatMap((from) => [...made.get(from)!])));
  }
  return made;
}

/** A graph in which tensors made of frozen weights have become inputs. */
export interface Hoisted<G extends Graph> {
  readonly graph: G;
  /** What to feed under each new name. */
  readonly parts: ReadonlyMap<string, Tensor>;
}

/**
 * Takes out of a graph what can be given instead of computed: tensors that depend on frozen weights with known values and
 * on constants only, that something else depends on, and that are no larger than the weights they are made of (so that
 * a broadcast, or weights kept in half precision, stay as they are).
 */
export function hoistFrozen<G extends Graph>(graph: G, weights: Weights, device: Device): Hoisted<G> {
  const made = frozenNodes(graph, weights);
  const worthwhile = (t: Tensor): boolean => {
    const leaves = [...(made.get(t.node) ?? [])];
    if (t.node.op === '@input' || leaves.length === 0) return false;
    // On the CPU a view costs nothing; elsewhere it would be a second copy.
    if (device !== 'cpu' && viewed(t).node.op === '@input') return false;
    return bytes(t) <= leaves.reduce((n, leaf) => n + bytes(leaf), 0);
  };
  const parts = new Map<string, Tensor>();
  const inputs = new Map<Tensor, Tensor>();
  const hoist = (t: Tensor): Tensor => {
    if (!worthwhile(t)) return t;
    const name = `${[...made.get(t.node)!].map(valueName).join('+')} as ${valueName(t)}`;
    if (!inputs.has(t)) inputs.set(t, weight(name, t.shape, t.dtype));
    parts.set(name, t);
    return inputs.get(t)!;
  };
  return {
    graph: rewrite(graph, (node, from) => {
      if (made.has(node) || !from.some((t) => t && worthwhile(t))) return null;
      return applyMany({ ...node, inputs: from.map((t) => t && hoist(t)), vjps: [] }, node.outputs);
    }),
    parts,
  };
}

/** A value where the device reads it; on the GPU a buffer, which the entry owns. */
type Made = Pick<GpuBuffer, 'value' | 'dispose'>;

/** What one operator makes: all its outputs. */
interface Entry {
  readonly values: Promise<readonly Made[]>;
  users: number;
}

/** Values by the first weight they are made of, so that they go when the weights go. */
const entries = new WeakMap<TypedArray, Map<string, Entry>>();
const ids = new WeakMap<TypedArray, number>();
let nextId = 0;

function idOf(data: TypedArray): number {
  const id = ids.get(data) ?? nextId++;
  ids.set(data, id);
  return id;
}

/** Constants up to this length are told by their numbers: the matrices that kernels are rotated and transformed with. */
const SMALL = 1024;

/** Says what a frozen operator makes, in terms of its weights' arrays: equal text, equal numbers. */
function expression(node: Node, weights: Weights, leaves: TypedArray[]): string {
  const value = node.op === '@input' ? lookup(weights, node.name!) : node.value;
  if (value) {
    if (node.op === '@input') leaves.push(value.data);
    const small = node.op === '@constant' && value.data.length <= SMALL;
    return `${value.dtype}[${value.shape.join()}]:${small ? `(${value.data.join()})` : idOf(value.data)}`;
  }
  const inputs = node.inputs.map((t) => {
    if (!t) return '';
    const from = resolve(t);
    return `${expression(from.node, weights, leaves)}#${from.index}`;
  });
  const shapes = node.outputs.map((t) => t.shape.join()).join(';');
  return `${node.domain}.${node.op}${JSON.stringify(node.attributes)}(${inputs.join()})[${shapes}]`;
}

/** Equal texts for tensors that share their memory on a device. */
export function shareKey(tensor: Tensor, weights: Weights, device: Device): string {
  const { node, index } = device === 'cpu' ? viewed(tensor) : resolve(tensor);
  return `${expression(node, weights, [])}#${index}`;
}

/** A value that executables share; the last one to let go frees it. */
export interface SharedValue {
  readonly value: DeviceValue;
  /** What lies in memory: the same object where two shared values are one. */
  readonly made: DeviceValue;
  /** What that takes beside the weights: nothing if it is one of them. */
  readonly bytes: number;
  release(): void;
}

/** What the operator makes, on the host: the CPU computes it, for it is done once and is exact there. */
async function onHost(node: Node, weights: Weights, options: SessionOptions): Promise<HostTensor[]> {
  const stored = node.op === '@input' ? lookup(weights, node.name!) : undefined;
  if (stored) return [asFed(stored)];
  const outputs = Object.fromEntries(node.outputs.map((t, i) => [`value${i}`, t]));
  const feeds: Record<string, DeviceValue> = {};
  for (const { op, name } of schedule(node.outputs)) {
    if (op === '@input') feeds[name!] = toDevice(asFed(lookup(weights, name!)!));
  }
  const session = await createSession(exportOnnx({ outputs }), 'cpu', options);
  await using _ = deferred(() => session.release());
  const results = await session.run(feeds);
  return node.outputs.map(({ dtype }, i) => toHost(results[`value${i}`]!, dtype));
}

async function compute(node: Node, weights: Weights, device: Device, options: SessionOptions): Promise<Made[]> {
  const values = await onHost(node, weights, options);
  if (device !== 'webgpu') return values.map((v) => ({ value: toDevice(v), dispose() {} }));
  const buffers: Made[] = [];
  try {
    for (const value of values) buffers.push(await upload(value));
    return buffers;
  } catch (error) {
    for (const buffer of buffers) buffer.dispose();
    throw error;
  }
}

/** Computes a frozen tensor on the device, or finds it where another executable has done so. */
export async function share(tensor: Tensor, weights: Weights, device: Device, options: SessionOptions): Promise<SharedValue> {
  // On the CPU one value serves in several shapes.
  const { node, index } = device === 'cpu' ? viewed(tensor) : resolve(tensor);
  const leaves: TypedArray[] = [];
  const key = `${device}:${expression(node, weights, leaves)}`;
  const home = leaves[0]!;
  const known = entries.get(home) ?? new Map<string, Entry>();
  entries.set(home, known);
  const entry = known.get(key) ?? { values: compute(node, weights, device, options), users: 0 };
  known.set(key, entry);
  entry.users += 1;
  try {
    const values = await entry.values;
    const made = values[index]!.value;
    return {
      value: device === 'cpu' ? toDevice({ ...toHost(made, tensor.dtype), shape: tensor.shape }) : made,
      made,
      bytes: node.op === '@input' && device === 'cpu' ? 0 : bytes(tensor),
      release() {
        entry.users -= 1;
        if (entry.users > 0) return;
        known.delete(key);
        for (const value of values) value.dispose();
      },
    };
  } catch (error) {
    known.delete(key);
    throw error;
  }
}

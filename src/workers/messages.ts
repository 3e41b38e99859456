/** @file What is said between the program and its worker threads. Each request is answered before the next one is looked at. */
import type { DType, HostTensor, Shape, TypedArray } from '../graph/dtype.js';
import type { SessionOptions } from '../runtime/device.js';

/** A fixed input: the array's number in the thread's store, seen in a shape. */
export interface FixedInput {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly array: number;
}

export type Request =
  | {
    readonly kind: 'open';
    readonly session: number;
    readonly model: Uint8Array;
    readonly options: SessionOptions;
    readonly fixed: readonly FixedInput[];
    /** Those that the thread does not have yet. */
    readonly arrays: readonly (readonly [number, TypedArray])[];
  }
  | { readonly kind: 'run'; readonly session: number; readonly feeds: ReadonlyMap<string, HostTensor> }
  /** `arrays`: those that no session reads any more. */
  | { readonly kind: 'release'; readonly session: number; readonly arrays: readonly number[] }
  | { readonly kind: 'end' };

export type Answer = { readonly outputs: ReadonlyMap<string, HostTensor> | null } | { readonly error: string };

/** A tensor in memory of its own that a message can take along, for views would take all that they are views of. */
function parcel({ dtype, shape, data }: HostTensor): { readonly tensor: HostTensor; readonly buffer: ArrayBuffer } {
  const own = data.slice();
  return { tensor: { dtype, shape, data: own }, buffer: own.buffer as ArrayBuffer };
}

/** Tensors by name as a message takes them along. */
export function parcels(tensors: ReadonlyMap<string, HostTensor>): { readonly tensors: Map<string, HostTensor>; readonly buffers: ArrayBuffer[] } {
  const packed = [...tensors].map(([name, t]) => [name, parcel(t)] as const);
  return { tensors: new Map(packed.map(([name, p]) => [name, p.tensor])), buffers: packed.map(([, p]) => p.buffer) };
}

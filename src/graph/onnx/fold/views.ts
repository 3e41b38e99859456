/** @file What constant folding works with: cells of any dtype, strides, walks over several strided views at once. */
import { arrayType, sizeOf } from '../../dtype.js';
import type { DType, HostTensor, Shape, TypedArray } from '../../dtype.js';
import type { Node, Spec } from '../../tensor.js';

/** Computes output 0 of a node. Shapes have been checked when the node was traced; indices have not. */
export type Kernel = (inputs: readonly HostTensor[], node: Node, out: Spec) => TypedArray;

/** Elements of any dtype: numbers, or bigints for int64. */
export type Cell = number | bigint;
export type Cells = Cell[];
export const cells = (data: TypedArray): Cells => data as unknown as Cells;
export const allocate = (dtype: DType, size: number): TypedArray => new (arrayType(dtype))(size);
export const INT64: { readonly min: bigint; readonly max: bigint } = { min: -(2n ** 63n), max: 2n ** 63n - 1n };
export const ints = (t: HostTensor): number[] => Array.from(t.data as Int32Array, Number);

export const attribute = (node: Node, name: string, otherwise: number): number => {
  const value = node.attributes[name];
  return typeof value === 'number' ? value : otherwise;
};

export function strides(shape: Shape): number[] {
  const out = shape.map(() => 1);
  for (let i = shape.length - 2; i >= 0; i--) out[i] = out[i + 1]! * shape[i + 1]!;
  return out;
}

/** Calls `visit` with the position in each of several strided views, for every index of `shape` in row-major order. */
export function walk(
  shape: Shape,
  views: readonly (readonly number[])[],
  visit: (i: number, at: readonly number[]) => void,
): void {
  const size = sizeOf(shape);
  const index = shape.map(() => 0);
  const at = views.map(() => 0);
  for (let i = 0; i < size; i++) {
    visit(i, at);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      views.forEach((v, k) => (at[k]! += v[axis]!));
      if (index[axis]! < shape[axis]!) break;
      index[axis] = 0;
      views.forEach((v, k) => (at[k]! -= v[axis]! * shape[axis]!));
    }
  }
}

/** Strides of `from` seen as `to`, which it broadcasts to. */
export function broadcastStrides(from: Shape, to: Shape): number[] {
  const own = strides(from);
  const lead = to.length - from.length;
  return to.map((_, i) => (i < lead || from[i - lead] === 1 ? 0 : own[i - lead]!));
}

/** out[i] = x[offset + i·view]. */
export function copyStrided(x: HostTensor, shape: Shape, view: readonly number[], offset = 0): TypedArray {
  const out = allocate(x.dtype, sizeOf(shape));
  const [from, to] = [cells(x.data), cells(out)];
  walk(shape, [view], (i, [at]) => (to[i] = from[offset + at!]!));
  return out;
}

/** An index from data, negative ones from the end. */
export function inRange(index: Cell, size: number): number {
  const at = Number(index);
  if (!(at >= -size && at < size)) throw new Error(`index ${at} is outside an axis of ${size}`);
  return at < 0 ? at + size : at;
}

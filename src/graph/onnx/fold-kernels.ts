/** @file Operators on host arrays, by ONNX name and in the form in which our functions trace them (operator set 18). */
import { arrayType, sizeOf } from '../dtype.js';
import type { DType, HostTensor, Shape, TypedArray } from '../dtype.js';
import type { Node, Spec } from '../tensor.js';

/** Computes output 0 of a node. Shapes have been checked when the node was traced; indices have not. */
export type Kernel = (inputs: readonly HostTensor[], node: Node, out: Spec) => TypedArray;

/** Elements of any dtype: numbers, or bigints for int64. */
type Cell = number | bigint;
type Cells = Cell[];
const cells = (data: TypedArray): Cells => data as unknown as Cells;
const allocate = (dtype: DType, size: number): TypedArray => new (arrayType(dtype))(size);
const ints = (t: HostTensor): number[] => Array.from(t.data as Int32Array, Number);

const attribute = (node: Node, name: string, otherwise: number): number => {
  const value = node.attributes[name];
  return typeof value === 'number' ? value : otherwise;
};

function strides(shape: Shape): number[] {
  const out = shape.map(() => 1);
  for (let i = shape.length - 2; i >= 0; i--) out[i] = out[i + 1]! * shape[i + 1]!;
  return out;
}

/** Calls `visit` with the position in each of several strided views, for every index of `shape` in row-major order. */
function walk(shape: Shape, views: readonly (readonly number[])[], visit: (i: number, at: readonly number[]) => void): void {
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
function broadcastStrides(from: Shape, to: Shape): number[] {
  const own = strides(from);
  const lead = to.length - from.length;
  return to.map((_, i) => (i < lead || from[i - lead] === 1 ? 0 : own[i - lead]!));
}

/** out[i] = x[offset + i·view]. */
function copyStrided(x: HostTensor, shape: Shape, view: readonly number[], offset = 0): TypedArray {
  const out = allocate(x.dtype, sizeOf(shape));
  const [from, to] = [cells(x.data), cells(out)];
  walk(shape, [view], (i, [at]) => (to[i] = from[offset + at!]!));
  return out;
}

const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n };

/** A float as int64: towards zero, saturating, NaN as 0. */
function toInt64(v: number): bigint {
  if (Number.isNaN(v)) return 0n;
  if (Math.abs(v) >= 2 ** 63) return v > 0 ? INT64.max : INT64.min;
  return BigInt(Math.trunc(v));
}

/** Brings a result to the output's kind of cell. */
function cellFor(dtype: DType): (v: Cell | boolean) => Cell {
  if (dtype === 'int64') return (v) => (typeof v === 'bigint' ? v : toInt64(Number(v)));
  if (dtype === 'bool') return (v) => (v ? 1 : 0);
  return (v) => Number(v);
}

type Scalar = (...xs: never[]) => Cell | boolean;

function elementwise(f: Scalar): Kernel {
  return (inputs, _node, out) => {
    const result = allocate(out.dtype, sizeOf(out.shape));
    const to = cells(result);
    const data = inputs.map((t) => cells(t.data));
    const finish = cellFor(out.dtype);
    const args: Cell[] = data.map(() => 0);
    walk(out.shape, inputs.map((t) => broadcastStrides(t.shape, out.shape)), (i, at) => {
      at.forEach((p, k) => (args[k] = data[k]![p]!));
      to[i] = finish(f(...(args as never[])));
    });
    return result;
  };
}

/** Integers divide towards zero, and not by zero. */
const kernelDiv: Kernel = (inputs, node, out) => {
  if (out.dtype === 'float32') return elementwise((a: number, b: number) => a / b)(inputs, node, out);
  if (cells(inputs[1]!.data).some((d) => Number(d) === 0)) throw new Error('division of integers by zero');
  return elementwise((a: Cell, b: Cell) => (typeof a === 'bigint' ? a / (b as bigint) : Math.trunc(a / (b as number))))(inputs, node, out);
};

/** The sign of the divisor for integers, of the dividend for floats or with `fmod`. */
const kernelMod: Kernel = (inputs, node, out) => {
  const fmod = attribute(node, 'fmod', 0) === 1;
  if (out.dtype !== 'float32' && cells(inputs[1]!.data).some((d) => Number(d) === 0)) throw new Error('remainder by zero');
  const rest = <T extends Cell>(a: T, b: T): Cell => {
    const r = ((a as number) % (b as number)) as Cell;
    return fmod || Number(r) === 0 || r < 0 === b < 0 ? r : (r as number) + (b as number);
  };
  return elementwise(rest)(inputs, node, out);
};

const kernelRound = (v: number): number => {
  const low = Math.floor(v);
  const rest = v - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
};

const ELEMENTWISE: Readonly<Record<string, Scalar>> = {
  Add: (a: number, b: number) => a + b,
  Sub: (a: number, b: number) => a - b,
  Mul: (a: number, b: number) => a * b,
  Pow: (a: Cell, b: Cell) => Math.pow(Number(a), Number(b)),
  Max: (a: Cell, b: Cell) => (a > b ? a : b),
  Min: (a: Cell, b: Cell) => (a < b ? a : b),
  Neg: (a: number) => -a,
  Abs: (a: number) => (a < 0 ? -a : a),
  Sign: (a: Cell) => (a > 0 ? 1 : a < 0 ? -1 : 0),
  Exp: Math.exp,
  Log: Math.log,
  Sqrt: Math.sqrt,
  Reciprocal: (a: number) => 1 / a,
  Sin: Math.sin,
  Cos: Math.cos,
  Tanh: Math.tanh,
  Floor: Math.floor,
  Ceil: Math.ceil,
  Round: kernelRound,
  Equal: (a: Cell, b: Cell) => a === b,
  Less: (a: Cell, b: Cell) => a < b,
  LessOrEqual: (a: Cell, b: Cell) => a <= b,
  Greater: (a: Cell, b: Cell) => a > b,
  GreaterOrEqual: (a: Cell, b: Cell) => a >= b,
  And: (a: Cell, b: Cell) => Boolean(a) && Boolean(b),
  Or: (a: Cell, b: Cell) => Boolean(a) || Boolean(b),
  Xor: (a: Cell, b: Cell) => Boolean(a) !== Boolean(b),
  Not: (a: Cell) => !a,
  Where: (c: Cell, a: Cell, b: Cell) => (c ? a : b),
  Clip: (a: Cell, low: Cell, high: Cell) => (a < low ? low : a > high ? high : a),
  Cast: (a: Cell) => a,
  IsNaN: (a: number) => Number.isNaN(a),
};

const kernelTranspose: Kernel = ([x], node, out) => {
  const order = node.attributes['perm'] as number[];
  const own = strides(x!.shape);
  return copyStrided(x!, out.shape, order.map((axis) => own[axis]!));
};

const kernelSlice: Kernel = ([x, starts, , axes, steps], _node, out) => {
  const own = strides(x!.shape);
  let offset = 0;
  const view = [...own];
  ints(axes!).forEach((axis, i) => {
    offset += ints(starts!)[i]! * own[axis]!;
    view[axis] = own[axis]! * ints(steps!)[i]!;
  });
  return copyStrided(x!, out.shape, view, offset);
};

const kernelTile: Kernel = ([x, repeats], _node) => {
  const own = strides(x!.shape);
  const counts = ints(repeats!);
  return copyStrided(x!, x!.shape.flatMap((d, i) => [counts[i]!, d]), own.flatMap((s) => [0, s]));
};

const kernelConcat: Kernel = (inputs, node, out) => {
  const axis = attribute(node, 'axis', 0);
  const result = allocate(out.dtype, sizeOf(out.shape));
  const outer = sizeOf(out.shape.slice(0, axis));
  const inner = sizeOf(out.shape.slice(axis));
  let offset = 0;
  for (const t of inputs) {
    const run = sizeOf(t.shape.slice(axis));
    for (let o = 0; o < outer; o++) result.set(t.data.subarray(o * run, (o + 1) * run) as never, o * inner + offset);
    offset += run;
  }
  return result;
};

const kernelPad: Kernel = ([x, pads, value], node, out) => {
  if (node.attributes['mode'] !== 'constant') throw new Error('only constant padding is folded');
  const result = allocate(out.dtype, sizeOf(out.shape));
  const to = cells(result);
  to.fill(value ? cells(value.data)[0]! : out.dtype === 'int64' ? 0n : 0);
  const view = strides(out.shape);
  const offset = ints(pads!).slice(0, out.shape.length).reduce((sum, p, i) => sum + p * view[i]!, 0);
  const from = cells(x!.data);
  walk(x!.shape, [view], (i, [at]) => (to[offset + at!] = from[i]!));
  return result;
};

/** An index from data, negative ones from the end. */
function inRange(index: Cell, size: number): number {
  const at = Number(index);
  if (!(at >= -size && at < size)) throw new Error(`index ${at} is outside an axis of ${size}`);
  return at < 0 ? at + size : at;
}

const kernelGather: Kernel = ([x, indices], node, out) => {
  const axis = attribute(node, 'axis', 0);
  const size = x!.shape[axis]!;
  const picks = Array.from(cells(indices!.data), (v) => inRange(v, size));
  const outer = sizeOf(x!.shape.slice(0, axis));
  const run = sizeOf(x!.shape.slice(axis + 1));
  const result = allocate(out.dtype, sizeOf(out.shape));
  for (let o = 0; o < outer; o++) {
    picks.forEach((p, i) => {
      const from = (o * size + p) * run;
      result.set(x!.data.subarray(from, from + run) as never, (o * picks.length + i) * run);
    });
  }
  return result;
};

const kernelGatherElements: Kernel = ([x, indices], node, out) => {
  const axis = attribute(node, 'axis', 0);
  const own = strides(x!.shape);
  const result = allocate(out.dtype, sizeOf(out.shape));
  const [to, from, picks] = [cells(result), cells(x!.data), cells(indices!.data)];
  walk(out.shape, [own.with(axis, 0)], (i, [at]) => (to[i] = from[at! + inRange(picks[i]!, x!.shape[axis]!) * own[axis]!]!));
  return result;
};

/** Offsets into a tensor of `shape` of the slices that rows of `indices` [..., K] name. */
function sliceOffsets(indices: HostTensor, shape: Shape): number[] {
  const k = indices.shape.at(-1)!;
  const own = strides(shape);
  const picks = cells(indices.data);
  return Array.from({ length: k ? picks.length / k : 0 }, (_, row) => {
    let at = 0;
    for (let i = 0; i < k; i++) at += inRange(picks[row * k + i]!, shape[i]!) * own[i]!;
    return at;
  });
}

/** Replaces elements, or adds to them; int64 cells add up too. */
function put(to: Cells, at: number, v: Cell, node: Node): void {
  to[at] = node.attributes['reduction'] === 'add' ? (to[at] as number) + (v as number) : v;
}

const kernelScatterNd: Kernel = ([x, indices, updates], node, out) => {
  const result = x!.data.slice();
  const run = sizeOf(out.shape.slice(indices!.shape.at(-1)!));
  const [to, from] = [cells(result), cells(updates!.data)];
  sliceOffsets(indices!, out.shape).forEach((at, row) => {
    for (let i = 0; i < run; i++) put(to, at + i, from[row * run + i]!, node);
  });
  return result;
};

const kernelScatterElements: Kernel = ([x, indices, updates], node, out) => {
  const axis = attribute(node, 'axis', 0);
  const own = strides(out.shape);
  const result = x!.data.slice();
  const [to, from, picks] = [cells(result), cells(updates!.data), cells(indices!.data)];
  walk(indices!.shape, [own.with(axis, 0)], (i, [at]) => put(to, at! + inRange(picks[i]!, out.shape[axis]!) * own[axis]!, from[i]!, node));
  return result;
};

type Combine = (total: number, v: number) => number;

/** Reduction over axes given as input 1. */
function reduction(combine: Combine, first: 'zero' | 'one' | 'element', mean = false): Kernel {
  return ([x, axes], _node, out) => {
    const reduced = new Set(ints(axes!));
    const kept = x!.shape.map((d, i) => (reduced.has(i) ? 1 : d));
    const result = allocate(out.dtype, sizeOf(kept));
    const [to, from] = [cells(result), cells(x!.data)];
    const started = new Uint8Array(to.length);
    const one = (n: number): Cell => (out.dtype === 'int64' ? BigInt(n) : n);
    to.fill(one(first === 'one' ? 1 : 0));
    walk(x!.shape, [broadcastStrides(kept, x!.shape)], (i, [at]) => {
      const fresh = first === 'element' && !started[at!];
      started[at!] = 1;
      to[at!] = fresh ? from[i]! : combine(to[at!] as number, from[i] as number);
    });
    const count = x!.data.length / to.length;
    if (mean) to.forEach((v, i) => (to[i] = typeof v === 'bigint' ? v / BigInt(count) : v / count));
    return result;
  };
}

const kernelCumSum: Kernel = ([x, axisInput], node, out) => {
  const axis = inRange(cells(axisInput!.data)[0]!, out.shape.length);
  const [exclusive, reverse] = [attribute(node, 'exclusive', 0) === 1, attribute(node, 'reverse', 0) === 1];
  const result = allocate(out.dtype, sizeOf(out.shape));
  const [to, from] = [cells(result), cells(x!.data)];
  const own = strides(out.shape);
  const n = out.shape[axis]!;
  walk(out.shape.with(axis, 1), [own], (_i, [base]) => {
    let total: Cell = out.dtype === 'int64' ? 0n : 0;
    for (let k = 0; k < n; k++) {
      const at = base! + (reverse ? n - 1 - k : k) * own[axis]!;
      const next: Cell = (total as number) + (from[at] as number);
      to[at] = exclusive ? total : next;
      total = next;
    }
  });
  return result;
};

export const KERNELS: Readonly<Record<string, Kernel>> = {
  ...Object.fromEntries(Object.entries(ELEMENTWISE).map(([op, f]) => [op, elementwise(f)])),
  Div: kernelDiv,
  Mod: kernelMod,
  Reshape: ([x]) => x!.data,
  Expand: ([x], _node, out) => copyStrided(x!, out.shape, broadcastStrides(x!.shape, out.shape)),
  Transpose: kernelTranspose,
  Slice: kernelSlice,
  Tile: kernelTile,
  Concat: kernelConcat,
  Pad: kernelPad,
  Gather: kernelGather,
  GatherElements: kernelGatherElements,
  GatherND: ([x, indices], _node, out) => {
    const run = sizeOf(x!.shape.slice(indices!.shape.at(-1)!));
    const result = allocate(out.dtype, sizeOf(out.shape));
    sliceOffsets(indices!, x!.shape).forEach((at, row) => result.set(x!.data.subarray(at, at + run) as never, row * run));
    return result;
  },
  ScatterND: kernelScatterNd,
  ScatterElements: kernelScatterElements,
  ReduceSum: reduction((a, b) => a + b, 'zero'),
  ReduceMean: reduction((a, b) => a + b, 'zero', true),
  ReduceProd: reduction((a, b) => a * b, 'one'),
  ReduceMax: reduction((a, b) => (b > a ? b : a), 'element'),
  ReduceMin: reduction((a, b) => (b < a ? b : a), 'element'),
  CumSum: kernelCumSum,
};

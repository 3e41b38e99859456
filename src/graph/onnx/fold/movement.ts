/** @file Folding of operators that move elements: transpose, slice, concat, pad, gather, scatter. */
import { sizeOf } from '../../dtype.js';
import type { HostTensor, Shape } from '../../dtype.js';
import type { Node } from '../../tensor.js';
import { allocate, attribute, broadcastStrides, cells, copyStrided, inRange, ints, strides, walk } from './views.js';
import type { Cell, Cells, Kernel } from './views.js';

const transpose: Kernel = ([x], node, out) => {
  const order = node.attributes['perm'] as number[];
  const own = strides(x!.shape);
  return copyStrided(x!, out.shape, order.map((axis) => own[axis]!));
};

const slice: Kernel = ([x, starts, , axes, steps], _node, out) => {
  const own = strides(x!.shape);
  let offset = 0;
  const view = [...own];
  ints(axes!).forEach((axis, i) => {
    offset += ints(starts!)[i]! * own[axis]!;
    view[axis] = own[axis]! * ints(steps!)[i]!;
  });
  return copyStrided(x!, out.shape, view, offset);
};

const tile: Kernel = ([x, repeats], _node) => {
  const own = strides(x!.shape);
  const counts = ints(repeats!);
  return copyStrided(x!, x!.shape.flatMap((d, i) => [counts[i]!, d]), own.flatMap((s) => [0, s]));
};

const concat: Kernel = (inputs, node, out) => {
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

/** The index on an axis of d that a place beside it shows; NaN for the fill value. */
function paddingSource(at: number, d: number, mode: unknown): number {
  if (at >= 0 && at < d) return at;
  if (mode === 'edge') return at < 0 ? 0 : d - 1;
  return mode === 'reflect' ? (at < 0 ? -at : 2 * (d - 1) - at) : NaN;
}

const pad: Kernel = ([x, pads, value], node, out) => {
  const before = ints(pads!);
  const own = strides(x!.shape);
  // Where in x each element of the result comes from, axis by axis.
  const places = out.shape.reduce<number[]>((offsets, d, axis) => {
    const mode = node.attributes['mode'];
    const sources = Array.from({ length: d }, (_, i) => paddingSource(i - before[axis]!, x!.shape[axis]!, mode));
    const steps = sources.map((s) => s * own[axis]!);
    return offsets.flatMap((o) => steps.map((s) => o + s));
  }, [0]);
  const result = allocate(out.dtype, places.length);
  const [to, from] = [cells(result), cells(x!.data)];
  const fill = value ? cells(value.data)[0]! : 0;
  places.forEach((p, i) => (to[i] = Number.isNaN(p) ? fill : from[p]!));
  return result;
};

const gather: Kernel = ([x, indices], node, out) => {
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

const gatherElements: Kernel = ([x, indices], node, out) => {
  const axis = attribute(node, 'axis', 0);
  const own = strides(x!.shape);
  const result = allocate(out.dtype, sizeOf(out.shape));
  const [to, from, picks] = [cells(result), cells(x!.data), cells(indices!.data)];
  walk(out.shape, [own.with(axis, 0)], (i, [at]) => {
    to[i] = from[at! + inRange(picks[i]!, x!.shape[axis]!) * own[axis]!]!;
  });
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

const gatherNd: Kernel = ([x, indices], _node, out) => {
  const run = sizeOf(x!.shape.slice(indices!.shape.at(-1)!));
  const result = allocate(out.dtype, sizeOf(out.shape));
  sliceOffsets(indices!, x!.shape).forEach((at, row) => {
    result.set(x!.data.subarray(at, at + run) as never, row * run);
  });
  return result;
};

/** Replaces elements, or adds to them; int64 cells add up too. */
function put(to: Cells, at: number, v: Cell, node: Node): void {
  to[at] = node.attributes['reduction'] === 'add' ? (to[at] as number) + (v as number) : v;
}

const scatterNd: Kernel = ([x, indices, updates], node, out) => {
  const result = x!.data.slice();
  const run = sizeOf(out.shape.slice(indices!.shape.at(-1)!));
  const [to, from] = [cells(result), cells(updates!.data)];
  sliceOffsets(indices!, out.shape).forEach((at, row) => {
    for (let i = 0; i < run; i++) put(to, at + i, from[row * run + i]!, node);
  });
  return result;
};

const scatterElements: Kernel = ([x, indices, updates], node, out) => {
  const axis = attribute(node, 'axis', 0);
  const own = strides(out.shape);
  const result = x!.data.slice();
  const [to, from, picks] = [cells(result), cells(updates!.data), cells(indices!.data)];
  walk(indices!.shape, [own.with(axis, 0)], (i, [at]) => {
    put(to, at! + inRange(picks[i]!, out.shape[axis]!) * own[axis]!, from[i]!, node);
  });
  return result;
};

export const movement: Readonly<Record<string, Kernel>> = {
  Reshape: ([x]) => x!.data,
  Expand: ([x], _node, out) => copyStrided(x!, out.shape, broadcastStrides(x!.shape, out.shape)),
  Transpose: transpose,
  Slice: slice,
  Tile: tile,
  Concat: concat,
  Pad: pad,
  Gather: gather,
  GatherElements: gatherElements,
  GatherND: gatherNd,
  ScatterND: scatterNd,
  ScatterElements: scatterElements,
};

/**
 * @file The operators that other operators' gradients are made of: shapes, broadcasting, and sums over axes. Their own
 * gradients need nothing beyond this file.
 */
import type { Shape } from '../dtype.js';
import { sizeOf } from '../dtype.js';
import { describeShape, traceError } from '../errors.js';
import { apply, literal } from '../tensor.js';
import type { Tensor } from '../tensor.js';

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((d, i) => d === b[i]);
export const int64 = (values: readonly number[]): Tensor => literal(values, [values.length], 'int64');

/** The shape that two shapes broadcast to. */
export function broadcastShapes(op: string, a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      traceError(op, `shapes ${describeShape(a)} and ${describeShape(b)} do not broadcast`);
    }
    return x === 1 ? y : x;
  });
}

/** Non-negative, sorted axes without repeats. */
export function normalizeAxes(op: string, rank: number, axes?: readonly number[]): number[] {
  const list = (axes ?? Array.from({ length: rank }, (_, i) => i)).map((a) => (a < 0 ? a + rank : a));
  const bad = list.find((a) => !Number.isInteger(a) || a < 0 || a >= rank);
  if (bad !== undefined) traceError(op, `axis ${bad} is outside a tensor of rank ${rank}`);
  return [...new Set(list)].toSorted((a, b) => a - b);
}

/** The same numbers in another shape; one dimension may be −1 (what remains). */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const open = shape.indexOf(-1);
  const known = sizeOf(shape.filter((d) => d !== -1));
  const target = open < 0 ? shape : shape.map((d) => (d === -1 ? x.size / known : d));
  if (sizeOf(target) !== x.size || target.some((d) => !Number.isInteger(d) || d < 0)) {
    traceError('Reshape', `${describeShape(x.shape)} (${x.size} elements) cannot become ${describeShape(shape)}`);
  }
  if (sameShape(x.shape, target)) return x;
  // allowzero: a 0 is a length, not "copy".
  const call = { op: 'Reshape', inputs: [x, int64(target)], attributes: { allowzero: 1 } };
  return apply({ ...call, vjps: [(g) => reshape(g, x.shape)] }, target, x.dtype);
}

/** Joins axes from `start` on into one. */
export function flatten(x: Tensor, start = 1): Tensor {
  return reshape(x, [...x.shape.slice(0, start), sizeOf(x.shape.slice(start))]);
}

/** Adds axes of length 1 at these positions of the result. */
export function unsqueeze(x: Tensor, ...axes: number[]): Tensor {
  const at = normalizeAxes('Unsqueeze', x.rank + axes.length, axes);
  const rest = [...x.shape];
  return reshape(x, Array.from({ length: x.rank + at.length }, (_, i) => (at.includes(i) ? 1 : rest.shift()!)));
}

/** Removes axes of length 1. */
export function squeeze(x: Tensor, ...axes: number[]): Tensor {
  const at = normalizeAxes('Squeeze', x.rank, axes);
  const long = at.find((a) => x.shape[a] !== 1);
  if (long !== undefined) traceError('Squeeze', `axis ${long} of ${describeShape(x.shape)} is not 1`);
  return reshape(x, x.shape.filter((_, i) => !at.includes(i)));
}

/** Repeats along broadcast axes until the shape is reached. */
export function expand(x: Tensor, shape: Shape): Tensor {
  const target = broadcastShapes('Expand', x.shape, shape);
  if (!sameShape(target, shape)) {
    traceError('Expand', `${describeShape(x.shape)} does not expand to ${describeShape(shape)}`);
  }
  if (sameShape(x.shape, shape)) return x;
  return apply({ op: 'Expand', inputs: [x, int64(shape)], vjps: [(g) => sumTo(g, x.shape)] }, shape, x.dtype);
}

export interface ReduceOptions {
  /** Axes to reduce, negative ones from the end; all by default. */
  axes?: readonly number[];
  /** Keep reduced axes with length 1. */
  keepDims?: boolean;
}

export function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): number[] {
  if (keepDims) return shape.map((d, i) => (axes.includes(i) ? 1 : d));
  return shape.filter((_, i) => !axes.includes(i));
}

type Rule = (g: Tensor /* reduced axes kept */, y: Tensor /* likewise */) => Tensor;

/** A reduction `op` by its gradient; null where none flows. */
export function reduce(op: string, x: Tensor, options: ReduceOptions, rule: Rule | null): Tensor {
  const axes = normalizeAxes(op, x.rank, options.axes);
  const keepDims = options.keepDims ?? false;
  if (axes.length === 0) return x;
  const kept = reducedShape(x.shape, axes, true);
  const y: Tensor = apply(
    {
      op,
      inputs: [x, literal(axes, [axes.length], 'int64')],
      attributes: { keepdims: keepDims ? 1 : 0 },
      vjps: [rule && ((g) => rule(reshape(g, kept), reshape(y, kept)))],
    },
    reducedShape(x.shape, axes, keepDims),
    x.dtype,
  );
  return y;
}

/** Sum over axes. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduce('ReduceSum', x, options, (g) => expand(g, x.shape));
}

/** Sums a broadcast gradient back to the shape it was broadcast from. */
export function sumTo(g: Tensor, shape: Shape): Tensor {
  if (describeShape(g.shape) === describeShape(shape)) return g;
  const lead = g.rank - shape.length;
  const axes = g.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && g.shape[i] !== 1));
  return reshape(sum(g, { axes, keepDims: true }), shape);
}

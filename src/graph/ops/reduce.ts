/** @file Reductions over axes: sums, means, extremes, variance, norms, log-sum-exp. */
import type { Shape } from '../dtype.js';
import { describeShape, traceError } from '../errors.js';
import { apply, literal } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { add, cast, div, equal, exp, log, mul, sqrtOfSquares, square, sub } from './arithmetic.js';
import { expand, reshape } from './layout.js';

export interface ReduceOptions {
  /** Axes to reduce, negative ones from the end; all by default. */
  axes?: readonly number[];
  /** Keep reduced axes with length 1. */
  keepDims?: boolean;
}

/** Non-negative, sorted axes without repeats. */
export function normalizeAxes(op: string, rank: number, axes?: readonly number[]): number[] {
  const list = (axes ?? Array.from({ length: rank }, (_, i) => i)).map((a) => (a < 0 ? a + rank : a));
  const bad = list.find((a) => !Number.isInteger(a) || a < 0 || a >= rank);
  if (bad !== undefined) traceError(op, `axis ${bad} is outside a tensor of rank ${rank}`);
  return [...new Set(list)].toSorted((a, b) => a - b);
}

function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): number[] {
  if (keepDims) return shape.map((d, i) => (axes.includes(i) ? 1 : d));
  return shape.filter((_, i) => !axes.includes(i));
}

type Rule = (g: Tensor /* reduced axes kept */, y: Tensor /* likewise */) => Tensor;

function reduce(op: string, x: Tensor, options: ReduceOptions, rule: Rule | null): Tensor {
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

export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduce('ReduceSum', x, options, (g) => expand(g, x.shape));
}

export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const axes = normalizeAxes('ReduceMean', x.rank, options.axes);
  const count = axes.reduce((n, a) => n * x.shape[a]!, 1);
  return reduce('ReduceMean', x, options, (g) => expand(div(g, count), x.shape));
}

/** Ties share the gradient equally. */
function extreme(op: 'ReduceMax' | 'ReduceMin', x: Tensor, options: ReduceOptions): Tensor {
  return reduce(op, x, options, (g, y) => {
    const hit = cast(equal(x, y), x.dtype);
    return mul(hit, div(g, sum(hit, { axes: options.axes ?? x.shape.map((_, i) => i), keepDims: true })));
  });
}

export const max = (x: Tensor, options: ReduceOptions = {}): Tensor => extreme('ReduceMax', x, options);
export const min = (x: Tensor, options: ReduceOptions = {}): Tensor => extreme('ReduceMin', x, options);

/** Population variance (divisor n − correction). */
export function variance(x: Tensor, options: ReduceOptions & { correction?: number } = {}): Tensor {
  const axes = normalizeAxes('variance', x.rank, options.axes);
  const count = axes.reduce((n, a) => n * x.shape[a]!, 1);
  const centred = sub(x, mean(x, { axes, keepDims: true }));
  return div(sum(square(centred), { axes, keepDims: options.keepDims ?? false }), count - (options.correction ?? 0));
}

/** Euclidean norm √(Σx² + epsilon). At zero the gradient is 0. */
export function norm(x: Tensor, options: ReduceOptions & { epsilon?: number } = {}): Tensor {
  return sqrtOfSquares(add(sum(square(x), options), options.epsilon ?? 0));
}

/** log Σ eˣ, shifted by the maximum so that nothing overflows. */
export function logSumExp(x: Tensor, options: ReduceOptions = {}): Tensor {
  const axes = normalizeAxes('logSumExp', x.rank, options.axes);
  const top = reduce('ReduceMax', x, { axes, keepDims: true }, null);
  const total = add(log(sum(exp(sub(x, top)), { axes, keepDims: true })), top);
  return options.keepDims ? total : reshape(total, reducedShape(x.shape, axes, false));
}

/** Sums a broadcast gradient back to the shape it was broadcast from. */
export function sumTo(g: Tensor, shape: Shape): Tensor {
  if (describeShape(g.shape) === describeShape(shape)) return g;
  const lead = g.rank - shape.length;
  const axes = g.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && g.shape[i] !== 1));
  return reshape(sum(g, { axes, keepDims: true }), shape);
}

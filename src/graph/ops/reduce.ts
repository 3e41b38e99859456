/** @file Reductions over axes: sums, means, extremes, variance, norms, log-sum-exp. */
import type { Tensor } from '../tensor.js';
import { add, cast, div, equal, exp, log, mul, sqrtOfSquares, square, sub } from './arithmetic.js';
import { expand, normalizeAxes, reduce, reducedShape, reshape, sum } from './shape.js';
import type { ReduceOptions } from './shape.js';

export { normalizeAxes, sum, sumTo } from './shape.js';
export type { ReduceOptions } from './shape.js';

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

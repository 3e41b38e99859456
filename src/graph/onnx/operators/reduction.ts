/** @file ONNX reductions; their axes are an attribute in older operator sets and an input in newer ones. */
import { abs, cast, log, mul, square } from '../../ops/arithmetic.js';
import { narrow, reshape, unsqueeze } from '../../ops/layout.js';
import { logSumExp, max, mean, min, norm, normalizeAxes, sum } from '../../ops/reduce.js';
import type { ReduceOptions } from '../../ops/reduce.js';
import { argMax, argMin } from '../../ops/topk.js';
import { full } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Operator } from '../call.js';
import { throughInt32 } from './elementwise.js';

type Reduction = (x: Tensor, options: ReduceOptions) => Tensor;

const reduce = (f: Reduction): Operator => (c) => {
  const x = c.x(0);
  const axes = c.optionalInts(1) ?? c.intList('axes') ?? [];
  const keepDims = c.int('keepdims', 1) === 1;
  const nothing = c.int('noop_with_empty_axes', 0) === 1;
  if (axes.length > 0) return f(x, { axes, keepDims });
  return nothing ? f(x, { axes: [], keepDims: true }) : f(x, { keepDims });
};

/** Multiplies halves of an axis until one is left: exact gradients, also where elements are 0. */
function product(x: Tensor, options: ReduceOptions): Tensor {
  const axes = normalizeAxes('ReduceProd', x.rank, options.axes);
  const alongAxis = (whole: Tensor, axis: number): Tensor => {
    if (whole.shape[axis] === 0) return full(whole.shape.with(axis, 1), 1, whole.dtype);
    let t = whole;
    let odd: Tensor | null = null;
    for (let n = t.shape[axis]!; n > 1; n = Math.floor(n / 2)) {
      const half = Math.floor(n / 2);
      const last = narrow(t, axis, n - 1, n);
      if (n % 2 === 1) odd = odd ? mul(odd, last) : last;
      t = mul(narrow(t, axis, 0, half), narrow(t, axis, half, 2 * half));
    }
    return odd ? mul(t, odd) : t;
  };
  const reduced = axes.reduce(alongAxis, x);
  return options.keepDims ? reduced : reshape(reduced, x.shape.filter((_, i) => !axes.includes(i)));
}

/** The index of the greatest (least) element along an axis. */
const extremeIndex = (f: (x: Tensor, axis: number) => Tensor): Operator => (c) => {
  const x = c.x(0);
  const axis = normalizeAxes(c.node.opType, x.rank, [c.int('axis', 0)])[0]!;
  if (c.int('select_last_index', 0) !== 0) c.fail('select_last_index is not supported');
  const y = f(x, axis);
  return c.int('keepdims', 1) === 1 ? unsqueeze(y, axis) : y;
};

export const reduction: Readonly<Record<string, Operator>> = {
  ReduceSum: reduce(sum),
  ReduceMean: reduce(mean),
  ReduceMax: reduce((x, options) => throughInt32(x, ['bool'], (t) => max(t, options))),
  ReduceMin: reduce((x, options) => throughInt32(x, ['bool'], (t) => min(t, options))),
  ReduceProd: reduce(product),
  ReduceL1: reduce((x, options) => sum(abs(x), options)),
  ReduceL2: reduce((x, options) => cast(norm(cast(x, 'float32'), options), x.dtype)),
  ReduceSumSquare: reduce((x, options) => sum(square(x), options)),
  ReduceLogSum: reduce((x, options) => log(sum(x, options))),
  ReduceLogSumExp: reduce(logSumExp),
  ArgMax: extremeIndex(argMax),
  ArgMin: extremeIndex(argMin),
};

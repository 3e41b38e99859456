/** @file ONNX operators that read and write at indices, and running sums. */
import type { DType } from '../../dtype.js';
import { cast } from '../../ops/arithmetic.js';
import { cumSum } from '../../ops/cumulative.js';
import { addAlong, gather, takeAlong } from '../../ops/gather.js';
import { gatherNd, putAlong, scatterNd } from '../../ops/gather-nd.js';
import { concat, expand } from '../../ops/layout.js';
import { normalizeAxes } from '../../ops/reduce.js';
import { topK } from '../../ops/topk.js';
import { literal } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';

/** Known indices are counted from the start here: that is what gradients expect. */
function indicesOf(c: Call, axis: number): Tensor {
  const [x, indices] = [c.x(0), c.x(1)];
  const known = c.known(indices);
  if (!known) return indices;
  const d = x.shape[axis]!;
  const values = Array.from(known.data as Int32Array, Number);
  const outside = values.find((v) => !(v >= -d && v < d));
  if (outside !== undefined) c.fail(`index ${outside} is outside axis ${axis} of ${x}`);
  if (!values.some((v) => v < 0)) return indices;
  return literal(values.map((v) => (v < 0 ? v + d : v)), known.shape, known.dtype as DType);
}

function gathered(c: Call): Tensor {
  const x = c.x(0);
  const axis = normalizeAxes('Gather', x.rank, [c.int('axis', 0)])[0]!;
  return gather(x, indicesOf(c, axis), axis);
}

/** Leading axes shared by data and indices become part of the index tuples. */
function gatheredNd(c: Call): Tensor {
  const x = c.x(0);
  const batch = c.int('batch_dims', 0);
  const indices = tuplesOf(c, x, c.x(1), batch);
  if (batch < 0 || batch >= indices.rank || batch > x.rank) c.fail(`impossible batch_dims ${batch}`);
  const lead = indices.shape.slice(0, -1);
  const counters = lead.slice(0, batch).map((d, axis) => {
    c.budget(d);
    const along = [...lead.map((_, i) => (i === axis ? d : 1)), 1];
    return expand(literal(Array.from({ length: d }, (_, i) => i), along, 'int64'), [...lead, 1]);
  });
  return gatherNd(x, concat([...counters, indices], indices.rank - 1));
}

/** Index tuples [..., K] into the axes of `x` from `from` on; known ones are checked. */
function tuplesOf(c: Call, x: Tensor, indices: Tensor, from = 0): Tensor {
  const known = c.known(indices);
  const k = indices.shape.at(-1) ?? 0;
  Array.from((known?.data ?? []) as ArrayLike<number | bigint>, Number).forEach((v, i) => {
    const axis = from + (i % k);
    const d = x.shape[axis] ?? c.fail(`${indices} does not fit ${x}`);
    if (!(v >= -d && v < d)) c.fail(`index ${v} is outside axis ${axis} of ${x}`);
  });
  return cast(indices, 'int64');
}

function reductionOf(c: Call): 'none' | 'add' {
  const reduction = c.string('reduction', 'none');
  return reduction === 'none' || reduction === 'add' ? reduction : c.fail(`reduction ${reduction} is not supported`);
}

function scattered(c: Call): Tensor {
  const [x, updates] = [c.x(0), c.x(2)];
  const axis = normalizeAxes('ScatterElements', x.rank, [c.int('axis', 0)])[0]!;
  const put = reductionOf(c) === 'add' ? addAlong : putAlong;
  return put(x, indicesOf(c, axis), updates, axis);
}

function greatest(c: Call): Tensor[] {
  c.int('sorted', 1);
  const k = c.inputs.length > 1 ? c.scalar(1) : (c.int('k') ?? c.fail('k is missing'));
  const { values, indices } = topK(c.x(0), k, c.int('axis', -1), c.int('largest', 1) === 1);
  return [values, indices];
}

function runningSum(c: Call): Tensor {
  return cumSum(c.x(0), c.scalar(1), { exclusive: c.int('exclusive', 0) === 1, reverse: c.int('reverse', 0) === 1 });
}

export const indexing: Readonly<Record<string, Operator>> = {
  Gather: gathered,
  GatherElements: (c) => {
    const axis = normalizeAxes('GatherElements', c.x(0).rank, [c.int('axis', 0)])[0]!;
    return takeAlong(c.x(0), indicesOf(c, axis), axis);
  },
  GatherND: gatheredNd,
  Scatter: scattered,
  ScatterElements: scattered,
  ScatterND: (c) => scatterNd(c.x(0), tuplesOf(c, c.x(0), c.x(1)), c.x(2), reductionOf(c)),
  TopK: greatest,
  CumSum: runningSum,
};

/** @file The largest or smallest elements along an axis, and where they are. */
import { describeShape, traceError } from '../errors.js';
import { apply, applyMany, full, literal } from '../tensor.js';
import type { Tensor, Vjp } from '../tensor.js';
import { addAlong } from './gather.js';
import { normalizeAxes } from './reduce.js';

function argExtreme(op: 'ArgMax' | 'ArgMin', x: Tensor, axis: number): Tensor {
  const at = normalizeAxes(op, x.rank, [axis])[0]!;
  return apply({ op, inputs: [x], attributes: { axis: at, keepdims: 0 } }, x.shape.toSpliced(at, 1), 'int64');
}

/** Index of the largest element along an axis, the first of equal ones; the axis goes. No gradient. */
export const argMax = (x: Tensor, axis = -1): Tensor => argExtreme('ArgMax', x, axis);
/** Index of the smallest element along an axis, the first of equal ones; the axis goes. No gradient. */
export const argMin = (x: Tensor, axis = -1): Tensor => argExtreme('ArgMin', x, axis);

/** The k largest (or smallest) elements along an axis in order, with their int64 indices. */
export function topK(x: Tensor, k: number, axis = -1, largest = true): { values: Tensor; indices: Tensor } {
  const at = normalizeAxes('TopK', x.rank, [axis])[0]!;
  if (!(Number.isInteger(k) && k >= 0 && k <= x.shape[at]!)) {
    traceError('TopK', `cannot take ${k} along axis ${at} of ${describeShape(x.shape)}`);
  }
  const shape = x.shape.with(at, k);
  const back: Vjp = (g) => addAlong(full(x.shape, 0, x.dtype), indices, g, at);
  const [values, indices] = applyMany(
    {
      op: 'TopK',
      inputs: [x, literal([k], [1], 'int64')],
      attributes: { axis: at, largest: largest ? 1 : 0, sorted: 1 },
      vjps: [back],
    },
    [{ shape, dtype: x.dtype }, { shape, dtype: 'int64' }],
  ) as [Tensor, Tensor];
  return { values, indices };
}

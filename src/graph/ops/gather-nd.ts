/** @file Reading and writing at index tuples, and overwriting along an axis. */
import { sizeOf } from '../dtype.js';
import { describeShape, traceError } from '../errors.js';
import { apply, full, literal } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { add, less, mul, where } from './arithmetic.js';
import { addAlong, takeAlong } from './gather.js';
import { expand, reshape } from './layout.js';
import { normalizeAxes, sum } from './reduce.js';

/** Checks that index tuples fit and gives the shape of the slices they name, all together. */
function slicesShape(op: string, x: Tensor, indices: Tensor): number[] {
  const depth = indices.shape.at(-1);
  if (indices.dtype !== 'int64' || depth === undefined || depth > x.rank) {
    traceError(op, `indices ${indices} do not fit ${describeShape(x.shape)}`);
  }
  return [...indices.shape.slice(0, -1), ...x.shape.slice(depth)];
}

/** Slices of `x` at index tuples [..., K]: the result is [..., x.shape[K:]]. */
export function gatherNd(x: Tensor, indices: Tensor): Tensor {
  const shape = slicesShape('GatherND', x, indices);
  const back = (g: Tensor): Tensor => addNd(full(x.shape, 0, x.dtype), indices, g);
  return apply({ op: 'GatherND', inputs: [x, indices], vjps: [back] }, shape, x.dtype);
}

/**
 * A copy of `x` in which slices at index tuples [..., K] are replaced by `updates` [..., x.shape[K:]], or increased by
 * them. Where tuples are replaced twice the result is not defined.
 */
export function scatterNd(x: Tensor, indices: Tensor, updates: Tensor, reduction: 'none' | 'add' = 'none'): Tensor {
  const shape = slicesShape('ScatterND', x, indices);
  if (describeShape(shape) !== describeShape(updates.shape) || updates.dtype !== x.dtype) {
    traceError('ScatterND', `updates ${updates} do not fit ${x} and indices ${describeShape(indices.shape)}`);
  }
  if (reduction === 'add') return addNd(x, indices, updates);
  const byX = (g: Tensor): Tensor => scatterNd(g, indices, full(shape, 0, g.dtype));
  const call = { op: 'ScatterND', inputs: [x, indices, updates] };
  return apply({ ...call, vjps: [byX, null, (g) => gatherNd(g, indices)] }, x.shape, x.dtype);
}

/** Adds through one index for each slice: ONNX Runtime's ScatterND loses updates of one slice (see addAlong). */
function addNd(x: Tensor, indices: Tensor, updates: Tensor): Tensor {
  const dims = x.shape.slice(0, indices.shape.at(-1)!);
  const strides = dims.map((_, i) => sizeOf(dims.slice(i + 1)));
  const int64 = (values: readonly number[]): Tensor => literal(values, [values.length], 'int64');
  const positive = where(less(indices, 0), add(indices, int64(dims)), indices);
  const rows = reshape(sum(mul(positive, int64(strides)), { axes: [-1] }), [-1, 1]);
  const table = reshape(x, [sizeOf(dims), -1]);
  const slices = [rows.shape[0]!, table.shape[1]!];
  return reshape(addAlong(table, expand(rows, slices), reshape(updates, slices), 0), x.shape);
}

/** A copy of `x` whose elements at `indices` along `axis` are replaced by `updates` (torch.scatter). */
export function putAlong(x: Tensor, indices: Tensor, updates: Tensor, axis: number): Tensor {
  const at = normalizeAxes('ScatterElements', x.rank, [axis])[0]!;
  if (describeShape(indices.shape) !== describeShape(updates.shape) || indices.rank !== x.rank) {
    traceError('ScatterElements', `indices ${indices} and updates ${updates} do not fit ${x}`);
  }
  const byX = (g: Tensor): Tensor => putAlong(g, indices, full(updates.shape, 0, g.dtype), at);
  const call = { op: 'ScatterElements', inputs: [x, indices, updates], attributes: { axis: at } };
  return apply({ ...call, vjps: [byX, null, (g) => takeAlong(g, indices, at)] }, x.shape, x.dtype);
}

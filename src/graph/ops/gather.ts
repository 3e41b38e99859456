/** @file Reading and writing at indices: gather, scatter, embedding, one-hot. */
import { describeShape, traceError } from '../errors.js';
import { apply, full, literal } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { cast, equal } from './arithmetic.js';
import { expand, normalizeAxes, reshape, unsqueeze } from './shape.js';

function checkIndices(op: string, indices: Tensor): void {
  const integers = indices.dtype === 'int64' || indices.dtype === 'int32';
  if (!integers) traceError(op, `indices must be integers, not ${indices}`);
}

/**
 * Slices of `x` along `axis` at `indices`; the result has the indices' shape in place of that axis. An index outside
 * the axis fails at run time.
 */
export function gather(x: Tensor, indices: Tensor, axis = 0): Tensor {
  checkIndices('Gather', indices);
  const at = normalizeAxes('Gather', x.rank, [axis])[0]!;
  const shape = [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)];
  const back = (g: Tensor): Tensor => {
    const inverse = inversePermutation(indices, x.shape[at]!);
    if (inverse) return gather(g, literal(inverse, [inverse.length], 'int64'), at);
    const along = x.shape.map((_, i) => (i === at ? indices.size : 1));
    const flat = reshape(g, x.shape.with(at, indices.size));
    // Many rows may add up in one, which half precision has no room for.
    const dtype = x.dtype === 'float16' ? 'float32' : x.dtype;
    return cast(addAlong(full(x.shape, 0, dtype), expand(reshape(indices, along), flat.shape), cast(flat, dtype), at), x.dtype);
  };
  return apply({ op: 'Gather', inputs: [x, indices], attributes: { axis: at }, vjps: [back] }, shape, x.dtype);
}

/** The order that undoes constant `indices` which list 0 … n − 1 once each, otherwise null. */
function inversePermutation(indices: Tensor, n: number): number[] | null {
  const fixed = indices.node.value;
  if (!fixed || indices.rank !== 1 || indices.size !== n) return null;
  const order = Array.from(fixed.data as ArrayLike<bigint | number>, Number);
  const inverse = order.map((_, i) => order.indexOf(i));
  return inverse.includes(-1) ? null : inverse;
}

function checkAlong(op: string, x: Tensor, indices: Tensor, at: number): void {
  checkIndices(op, indices);
  if (indices.rank !== x.rank || indices.shape.some((d, i) => i !== at && d > x.shape[i]!)) {
    traceError(op, `indices ${describeShape(indices.shape)} do not fit ${describeShape(x.shape)} along axis ${at}`);
  }
}

/** Elements of `x` at `indices` along `axis`, one per position (torch.gather); other axes may be shorter than x's. */
export function takeAlong(x: Tensor, indices: Tensor, axis: number): Tensor {
  const at = normalizeAxes('GatherElements', x.rank, [axis])[0]!;
  checkAlong('GatherElements', x, indices, at);
  const back = (g: Tensor): Tensor => addAlong(full(x.shape, 0, x.dtype), indices, g, at);
  const call = { op: 'GatherElements', inputs: [x, indices], attributes: { axis: at }, vjps: [back] };
  return apply(call, indices.shape, x.dtype);
}

/**
 * Adds `updates` into a copy of `x` at `indices` along `axis`, one per position; several updates of one element add up
 * (torch.scatter_add). ScatterND would take whole slices, but ONNX Runtime 1.30 loses updates there: its threads race.
 */
export function addAlong(x: Tensor, indices: Tensor, updates: Tensor, axis: number): Tensor {
  const at = normalizeAxes('ScatterElements', x.rank, [axis])[0]!;
  checkAlong('ScatterElements', x, indices, at);
  if (describeShape(indices.shape) !== describeShape(updates.shape) || updates.dtype !== x.dtype) {
    traceError('ScatterElements', `updates ${updates} do not fit indices ${describeShape(indices.shape)} into ${x}`);
  }
  return apply(
    {
      op: 'ScatterElements',
      inputs: [x, indices, updates],
      attributes: { axis: at, reduction: 'add' },
      vjps: [(g) => g, null, (g) => takeAlong(g, indices, at)],
    },
    x.shape,
    x.dtype,
  );
}

/** Rows of a table: ids [..., N] and table [V, C] → [..., N, C]. */
export function embedding(ids: Tensor, table: Tensor): Tensor {
  if (table.rank !== 2) traceError('embedding', `the table must be [V, C], not ${describeShape(table.shape)}`);
  return gather(table, ids, 0);
}

/** 1 where the class index equals the id: ids [...] → [..., classes]. */
export function oneHot(ids: Tensor, classes: number): Tensor {
  const range = literal(Array.from({ length: classes }, (_, i) => i), [classes], ids.dtype);
  return cast(equal(unsqueeze(ids, ids.rank), range), 'float32');
}

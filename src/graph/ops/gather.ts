/** @file Reading and writing at indices: gather, scatter, embedding, one-hot. */
import { describeShape, traceError } from '../errors.js';
import { apply, full, literal } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { cast, equal } from './arithmetic.js';
import { reshape, transpose, unsqueeze } from './layout.js';
import { normalizeAxes } from './reduce.js';

function checkIndices(op: string, indices: Tensor): void {
  if (indices.dtype !== 'int64' && indices.dtype !== 'int32') traceError(op, `indices must be integers, not ${indices}`);
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
    const fixed = indices.node.value;
    if (fixed && isPermutation(fixed.data as BigInt64Array, x.shape[at]!) && indices.rank === 1) {
      const inverse = new Array<number>(x.shape[at]!);
      fixed.data.forEach((v: bigint | number, i: number) => (inverse[Number(v)] = i));
      return gather(g, literal(inverse, [inverse.length], 'int64'), at);
    }
    return sumAtIndices(g, indices, at, x);
  };
  return apply({ op: 'Gather', inputs: [x, indices], attributes: { axis: at }, vjps: [back] }, shape, x.dtype);
}

function isPermutation(values: ArrayLike<bigint | number>, n: number): boolean {
  return values.length === n && new Set(Array.from(values, Number)).size === n;
}

/** The transpose of gather: adds slices of `g` into zeros like `x` at `indices`. */
function sumAtIndices(g: Tensor, indices: Tensor, axis: number, x: Tensor): Tensor {
  // Bring the axis to the front and add rows: ScatterND is the operator that adds whole slices.
  const k = indices.rank;
  const front = [...Array.from({ length: k }, (_, i) => axis + i), ...g.shape.map((_, i) => i).filter((i) => i < axis || i >= axis + k)];
  const rows = transpose(g, front);
  const restShape = rows.shape.slice(k);
  const zeros = full([x.shape[axis]!, ...restShape], 0, g.dtype);
  const added = scatterAdd(zeros, reshape(cast(indices, 'int64'), [indices.size, 1]), reshape(rows, [indices.size, ...restShape]));
  const order = x.shape.map((_, i) => (i === axis ? 0 : i < axis ? i + 1 : i));
  return transpose(added, order);
}

/**
 * Adds `updates` [N, …] into a copy of `x` at the rows named by `indices` [N, 1]; several updates of one row add up.
 */
export function scatterAdd(x: Tensor, indices: Tensor, updates: Tensor): Tensor {
  checkIndices('ScatterND', indices);
  if (indices.rank !== 2 || indices.shape[1] !== 1 || updates.shape[0] !== indices.shape[0]) {
    traceError('ScatterND', `indices ${describeShape(indices.shape)} do not fit updates ${describeShape(updates.shape)}`);
  }
  const flat = reshape(indices, [indices.size]);
  return apply(
    {
      op: 'ScatterND',
      inputs: [x, indices, updates],
      attributes: { reduction: 'add' },
      vjps: [(g) => g, null, (g) => gather(g, flat, 0)],
    },
    x.shape,
    x.dtype,
  );
}

/** Elements of `x` at `indices` along `axis`, one per position (torch.gather); shapes agree but on that axis. */
export function takeAlong(x: Tensor, indices: Tensor, axis: number): Tensor {
  checkIndices('GatherElements', indices);
  const at = normalizeAxes('GatherElements', x.rank, [axis])[0]!;
  const back = (g: Tensor): Tensor => addAlong(full(x.shape, 0, x.dtype), indices, g, at);
  const call = { op: 'GatherElements', inputs: [x, indices], attributes: { axis: at }, vjps: [back] };
  return apply(call, indices.shape, x.dtype);
}

/** Adds `updates` into a copy of `x` at `indices` along `axis`, one per position (torch.scatter_add). */
export function addAlong(x: Tensor, indices: Tensor, updates: Tensor, axis: number): Tensor {
  return apply(
    {
      op: 'ScatterElements',
      inputs: [x, indices, updates],
      attributes: { axis, reduction: 'add' },
      vjps: [(g) => g, null, (g) => takeAlong(g, indices, axis)],
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

/** @file Operators that move numbers without changing them: reshape, transpose, slice, concat, pad, expand, flip. */
import { describeShape, traceError } from '../errors.js';
import { apply, applyMany, full, lift, literal } from '../tensor.js';
import type { Attribute, Tensor, Vjp } from '../tensor.js';
import { add, mul } from './arithmetic.js';
import { gather } from './gather.js';
import { int64, normalizeAxes, reshape, sameShape, sumTo, unsqueeze } from './shape.js';

// Part of this family; their gradients need none of the rest.
export { expand, flatten, reshape, squeeze, unsqueeze } from './shape.js';

/** Reorders axes: output axis i is input axis `order[i]`. */
export function transpose(x: Tensor, order: readonly number[]): Tensor {
  if (!sameShape(order.toSorted((a, b) => a - b), x.shape.map((_, i) => i))) {
    traceError('Transpose', `${describeShape(order)} is not an order of the axes of ${describeShape(x.shape)}`);
  }
  if (order.every((axis, i) => axis === i)) return x;
  const inverse = order.map((_, i) => order.indexOf(i));
  return apply(
    { op: 'Transpose', inputs: [x], attributes: { perm: [...order] }, vjps: [(g) => transpose(g, inverse)] },
    order.map((axis) => x.shape[axis]!),
    x.dtype,
  );
}

/** Swaps the last two axes. */
export function swapLast(x: Tensor): Tensor {
  const order = x.shape.map((_, i) => i);
  return transpose(x, [...order.slice(0, -2), x.rank - 1, x.rank - 2]);
}

/** Repeats whole copies: axis i is repeated `repeats[i]` times. */
export function tile(x: Tensor, repeats: readonly number[]): Tensor {
  if (repeats.length !== x.rank) traceError('Tile', `${repeats.length} repeats for rank ${x.rank}`);
  const copies = x.shape.flatMap((d, i) => [repeats[i]!, d]);
  const once = x.shape.flatMap((d) => [1, d]);
  const back = (g: Tensor): Tensor => reshape(sumTo(reshape(g, copies), once), x.shape);
  const shape = x.shape.map((d, i) => d * repeats[i]!);
  return apply({ op: 'Tile', inputs: [x, int64(repeats)], vjps: [back] }, shape, x.dtype);
}

/** Elements start, start + step, … before end on each axis (all axes given; steps positive, 1 by default). */
export function slice(
  x: Tensor, starts: readonly number[], ends: readonly number[], steps?: readonly number[],
): Tensor {
  const step = steps ?? starts.map(() => 1);
  if (starts.length !== x.rank || ends.length !== x.rank || step.length !== x.rank) {
    traceError('Slice', `needs a start, end and step for each axis of ${describeShape(x.shape)}`);
  }
  if (step.some((s) => !(s >= 1))) {
    traceError('Slice', `steps ${describeShape(step)} must be positive; use flip to go backwards`);
  }
  const from = starts.map((s, i) => Math.min(Math.max(s < 0 ? s + x.shape[i]! : s, 0), x.shape[i]!));
  const to = ends.map((e, i) => Math.min(Math.max(e < 0 ? e + x.shape[i]! : e, from[i]!), x.shape[i]!));
  const shape = from.map((s, i) => Math.ceil((to[i]! - s) / step[i]!));
  if (sameShape(shape, x.shape)) return x;
  const axes = x.shape.map((_, i) => i).filter((i) => shape[i] !== x.shape[i]);
  const pick = (list: readonly number[]): Tensor => int64(axes.map((i) => list[i]!));
  const back = (g: Tensor): Tensor => {
    const spread = step.some((s) => s > 1) ? dilate(g, step) : g;
    return pad(spread, from, x.shape.map((d, i) => d - from[i]! - spread.shape[i]!));
  };
  return apply(
    { op: 'Slice', inputs: [x, pick(from), pick(to), int64(axes), pick(step)], vjps: [back] },
    shape,
    x.dtype,
  );
}

/** The part [start, end) of one axis. */
export function narrow(x: Tensor, axis: number, start: number, end: number): Tensor {
  const at = normalizeAxes('narrow', x.rank, [axis])[0]!;
  return slice(x, x.shape.map((_, i) => (i === at ? start : 0)), x.shape.map((d, i) => (i === at ? end : d)));
}

/** Puts step − 1 zeros between neighbours on each axis: [n] → [(n − 1)·step + 1]. */
function dilate(x: Tensor, step: readonly number[]): Tensor {
  const paired = reshape(x, x.shape.flatMap((d) => [d, 1]));
  const padded = pad(paired, paired.shape.map(() => 0), x.shape.flatMap((_, i) => [0, step[i]! - 1]));
  const wide = reshape(padded, x.shape.map((d, i) => d * step[i]!));
  return slice(wide, x.shape.map(() => 0), x.shape.map((d, i) => (d - 1) * step[i]! + 1));
}

export type PadMode = 'constant' | 'reflect' | 'edge';

/** Adds `before[i]` and `after[i]` elements on axis i: a constant, a mirror image, or the edge repeated. */
export function pad(
  x: Tensor,
  before: readonly number[],
  after: readonly number[],
  mode: PadMode = 'constant',
  value = 0,
): Tensor {
  if (before.length !== x.rank || after.length !== x.rank) {
    traceError('Pad', `${before.length} and ${after.length} paddings for ${describeShape(x.shape)}`);
  }
  if ([...before, ...after].every((p) => p === 0)) return x;
  if ([...before, ...after].some((p) => p < 0)) traceError('Pad', 'negative padding; use slice');
  const shape = x.shape.map((d, i) => d + before[i]! + after[i]!);
  if (mode === 'reflect' && x.shape.some((d, i) => Math.max(before[i]!, after[i]!) >= d)) {
    traceError('Pad', `cannot reflect ${describeShape([...before, ...after])} elements of ${describeShape(x.shape)}`);
  }
  const inputs = [x, int64([...before, ...after])];
  if (mode === 'constant') inputs.push(lift(value, x));
  const crop = (g: Tensor): Tensor => slice(g, before, before.map((b, i) => b + x.shape[i]!));
  const fold = (g: Tensor): Tensor => {
    // Every padded position reads one source position: add the gradients back, axis by axis.
    let out = g;
    x.shape.forEach((d, axis) => {
      if (before[axis] === 0 && after[axis] === 0) return;
      out = gatherTranspose(out, axis, paddedSources(d, before[axis]!, after[axis]!, mode), d);
    });
    return out;
  };
  const attributes: Record<string, Attribute> = { mode };
  return apply({ op: 'Pad', inputs, attributes, vjps: [mode === 'constant' ? crop : fold] }, shape, x.dtype);
}

/** Which source index each padded position shows. */
function paddedSources(d: number, before: number, after: number, mode: PadMode): number[] {
  return Array.from({ length: d + before + after }, (_, i) => {
    const at = i - before;
    if (mode === 'edge') return Math.min(Math.max(at, 0), d - 1);
    return at < 0 ? -at : at >= d ? 2 * (d - 1) - at : at;
  });
}

/** Adds slices of `g` along `axis` into `size` bins: bin sources[i] receives slice i. */
function gatherTranspose(g: Tensor, axis: number, sources: readonly number[], size: number): Tensor {
  const usesOf = Array.from({ length: size }, (_, s) => sources.flatMap((v, i) => (v === s ? [i] : [])));
  const uses = usesOf.reduce((most, list) => Math.max(most, list.length), 0);
  let total: Tensor | null = null;
  for (let k = 0; k < uses; k++) {
    // The k-th use of each source; a source with fewer uses reads slice 0 with weight 0.
    const picks = usesOf.map((list) => list[k]);
    const part = gather(g, int64(picks.map((p) => p ?? 0)), axis);
    const mask = literal(picks.map((p) => (p === undefined ? 0 : 1)), g.shape.map((_, i) => (i === axis ? size : 1)));
    const masked = picks.includes(undefined) ? mul(part, mask) : part;
    total = total ? add(total, masked) : masked;
  }
  return total!;
}

/** Joins tensors along an axis; the other axes must agree. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const first = parts[0];
  if (!first) return traceError('Concat', 'nothing to join');
  if (parts.length === 1) return first;
  const at = normalizeAxes('Concat', first.rank, [axis])[0]!;
  for (const p of parts) {
    const fits = p.rank === first.rank && sameShape(p.shape.with(at, 0), first.shape.with(at, 0));
    if (!fits || p.dtype !== first.dtype) traceError('Concat', `${p} does not join ${first} along axis ${at}`);
  }
  let offset = 0;
  const vjps = parts.map((p) => {
    const start = offset;
    offset += p.shape[at]!;
    return (g: Tensor): Tensor => narrow(g, at, start, start + p.shape[at]!);
  });
  const call = { op: 'Concat', inputs: [...parts], attributes: { axis: at }, vjps };
  return apply(call, first.shape.with(at, offset), first.dtype);
}

/** Cuts along an axis into pieces of these lengths. The gradient joins the pieces' gradients in one pass. */
export function split(x: Tensor, lengths: readonly number[], axis: number): Tensor[] {
  const at = normalizeAxes('Split', x.rank, [axis])[0]!;
  if (lengths.reduce((a, b) => a + b, 0) !== x.shape[at]) {
    traceError('Split', `${describeShape(lengths)} does not add up to axis ${at} of ${describeShape(x.shape)}`);
  }
  if (lengths.length === 1) return [x];
  const pieces = lengths.map((n) => ({ shape: x.shape.with(at, n), dtype: x.dtype }));
  const back: Vjp = (_g, all) => concat(all.map((g, i) => g ?? full(pieces[i]!.shape, 0, x.dtype)), at);
  const call = { op: 'Split', inputs: [x, int64(lengths)], attributes: { axis: at }, vjps: [back] };
  return [...applyMany(call, pieces)];
}

/** Joins tensors of one shape along a new axis. */
export function stack(parts: readonly Tensor[], axis = 0): Tensor {
  return concat(parts.map((p) => unsqueeze(p, axis)), axis);
}

/** Reverses the order along these axes. */
export function flip(x: Tensor, axes: readonly number[]): Tensor {
  return normalizeAxes('flip', x.rank, axes).reduce((t, axis) => {
    const n = t.shape[axis]!;
    return gather(t, int64(Array.from({ length: n }, (_, i) => n - 1 - i)), axis);
  }, x);
}

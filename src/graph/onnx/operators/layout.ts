/** @file ONNX operators that move numbers: reshape, transpose, slice, concat, split, pad, tile. */
import { sizeOf } from '../../dtype.js';
import type { Shape } from '../../dtype.js';
import { describeShape } from '../../errors.js';
import { and, where } from '../../ops/arithmetic.js';
import { gather } from '../../ops/gather.js';
import { concat, expand, pad, reshape, slice, split, squeeze, tile, transpose, unsqueeze } from '../../ops/layout.js';
import type { PadMode } from '../../ops/layout.js';
import { broadcastShapes, normalizeAxes } from '../../ops/shape.js';
import { constant, literal } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { LIMITS } from '../error.js';
import { throughInt32 } from './elementwise.js';

/** 0 copies a dimension unless `allowzero` is set; −1 is what remains. */
function reshaped(c: Call): Tensor {
  const x = c.x(0);
  const zeros = c.int('allowzero', 0) === 1;
  const copied = (i: number): number => x.shape[i] ?? c.fail(`the shape copies dimension ${i} of ${x}`);
  const shape = c.ints(1).map((d, i) => (d === 0 && !zeros ? copied(i) : d));
  const open = shape.filter((d) => d < 0);
  if (open.length > 1 || open.some((d) => d !== -1)) c.fail(`impossible shape ${describeShape(shape)}`);
  return reshape(x, shape);
}

function flattened(c: Call): Tensor {
  const x = c.x(0);
  const axis = c.int('axis', 1);
  const at = axis < 0 ? axis + x.rank : axis;
  if (at < 0 || at > x.rank) c.fail(`axis ${axis} is outside rank ${x.rank}`);
  return reshape(x, [sizeOf(x.shape.slice(0, at)), sizeOf(x.shape.slice(at))]);
}

function squeezed(c: Call): Tensor {
  const x = c.x(0);
  const axes = c.optionalInts(1) ?? c.intList('axes');
  return axes ? squeeze(x, ...axes) : reshape(x, x.shape.filter((d) => d !== 1));
}

/** Lengths are an attribute, an input (from 13 on), a number of parts (from 18 on), or follow from the outputs. */
function pieces(c: Call): Tensor[] {
  const x = c.x(0);
  const axis = normalizeAxes('Split', x.rank, [c.int('axis', 0)])[0]!;
  const count = c.int('num_outputs', c.node.output.length);
  const given = c.optionalInts(1) ?? c.intList('split');
  if (given) return split(x, given, axis);
  if (!(count > 0 && count <= LIMITS.listLength)) c.fail(`cannot split into ${count} parts`);
  const d = x.shape[axis]!;
  const length = Math.ceil(d / count);
  return split(x, Array.from({ length: count }, (_, i) => Math.max(0, Math.min(length, d - i * length))), axis);
}

/** Limits are attributes up to operator set 9, inputs from 10 on; a negative step walks backwards. */
function sliced(c: Call): Tensor {
  const x = c.x(0);
  const starts = c.optionalInts(1) ?? c.intList('starts') ?? c.fail('starts are missing');
  const ends = c.optionalInts(2) ?? c.intList('ends') ?? c.fail('ends are missing');
  const axes = c.optionalInts(3) ?? c.intList('axes') ?? starts.map((_, i) => i);
  const steps = c.optionalInts(4) ?? starts.map(() => 1);
  if ([ends, axes, steps].some((l) => l.length !== starts.length)) {
    c.fail('starts, ends, axes and steps differ in number');
  }
  if (new Set(normalizeAxes('Slice', x.rank, axes)).size < axes.length) c.fail('an axis is given twice');
  const from = x.shape.map(() => 0);
  const to = [...x.shape];
  const by = x.shape.map(() => 1);
  let result = x;
  axes.forEach((given, i) => {
    const axis = given < 0 ? given + x.rank : given;
    const d = x.shape[axis]!;
    const [start, end] = [starts[i]!, ends[i]!].map((v) => (v < 0 ? v + d : v)) as [number, number];
    const step = steps[i]!;
    if (step === 0) c.fail('a step is 0');
    const limit = (v: number, low: number, high: number): number => Math.min(Math.max(v, low), high);
    if (step > 0) {
      // A step beyond the axis takes one element, as does the axis' own length.
      [from[axis], to[axis], by[axis]] = [limit(start, 0, d), limit(end, 0, d), Math.min(step, Math.max(d, 1))];
      return;
    }
    const [first, last] = [limit(start, -1, d - 1), limit(end, -1, d - 1)];
    const count = Math.max(0, Math.ceil((last - first) / step));
    c.budget(count);
    const picks = Array.from({ length: count }, (_, k) => first + k * step);
    result = gather(result, literal(picks, [count], 'int64'), axis);
    to[axis] = count;
  });
  return slice(result, from, to, by);
}

/** Pads are an attribute up to operator set 10, an input from 11 on; negative ones cut off. */
function padded(c: Call): Tensor {
  const x = c.x(0);
  const given = c.optionalInts(1) ?? c.intList('pads') ?? c.fail('pads are missing');
  const value = c.optional(2) ? c.scalar(2) : c.float('value', 0);
  const axes = c.optionalInts(3) ?? x.shape.map((_, i) => i);
  const mode = c.string('mode', 'constant');
  if (mode !== 'constant' && mode !== 'reflect' && mode !== 'edge') c.fail(`padding mode ${mode} is not supported`);
  if (given.length !== 2 * axes.length) c.fail(`${given.length} pads for ${axes.length} axes`);
  normalizeAxes('Pad', x.rank, axes);
  const before = x.shape.map(() => 0);
  const after = x.shape.map(() => 0);
  axes.forEach((axis, i) => {
    before[axis < 0 ? axis + x.rank : axis] = given[i]!;
    after[axis < 0 ? axis + x.rank : axis] = given[axes.length + i]!;
  });
  const cut = slice(x, before.map((p) => Math.max(0, -p)), x.shape.map((d, i) => d - Math.max(0, -after[i]!)));
  const positive = (pads: number[]): number[] => pads.map((p) => Math.max(0, p));
  return pad(cut, positive(before), positive(after), mode as PadMode, value);
}

/** Keeps the upper or lower triangle of matrices [..., H, W]; `k` moves the diagonal. */
function triangle(c: Call): Tensor {
  const x = c.x(0);
  if (x.rank < 2) c.fail(`takes matrices, not ${x}`);
  const k = c.optional(1) ? c.scalar(1) : 0;
  const upper = c.int('upper', 1) === 1;
  const [h, w] = x.shape.slice(-2) as [number, number];
  c.budget(h * w);
  const keep = Uint8Array.from({ length: h * w }, (_, i) => {
    const diagonal = (i % w) - Math.floor(i / w);
    return (upper ? diagonal >= k : diagonal <= k) ? 1 : 0;
  });
  const mask = constant({ data: keep, shape: [h, w], dtype: 'bool' });
  return x.dtype === 'bool' ? and(x, mask) : throughInt32(x, ['int8'], (t) => where(mask, t, 0));
}

/** [B, C, H, W] ⇄ [B, C/b², H·b, W·b]; `order` says where the block axes stand among the channels. */
function blocks(c: Call): { x: Tensor; b: number; shape: Shape } {
  const x = c.x(0);
  const b = c.int('blocksize', 0);
  if (x.rank !== 4 || b < 1) c.fail(`takes [B, C, H, W] and a block size, not ${x} and ${b}`);
  return { x, b, shape: x.shape };
}

function depthToSpace(c: Call): Tensor {
  const { x, b, shape } = blocks(c);
  const [n, ch, h, w] = shape as [number, number, number, number];
  const inner = ch / (b * b);
  const rows = c.string('mode', 'DCR') === 'DCR'
    ? transpose(reshape(x, [n, b, b, inner, h, w]), [0, 3, 4, 1, 5, 2])
    : transpose(reshape(x, [n, inner, b, b, h, w]), [0, 1, 4, 2, 5, 3]);
  return reshape(rows, [n, inner, h * b, w * b]);
}

function spaceToDepth(c: Call): Tensor {
  const { x, b, shape } = blocks(c);
  const [n, ch, h, w] = shape as [number, number, number, number];
  return reshape(transpose(reshape(x, [n, ch, h / b, b, w / b, b]), [0, 3, 5, 1, 2, 4]), [n, ch * b * b, h / b, w / b]);
}

export const layout: Readonly<Record<string, Operator>> = {
  Reshape: reshaped,
  Flatten: flattened,
  Squeeze: squeezed,
  Unsqueeze: (c) => unsqueeze(c.x(0), ...(c.optionalInts(1) ?? c.intList('axes') ?? c.fail('axes are missing'))),
  Transpose: (c) => transpose(c.x(0), c.intList('perm') ?? c.x(0).shape.map((_, i) => i).toReversed()),
  Concat: (c) => concat(c.all(), c.int('axis') ?? c.fail('attribute axis is missing')),
  Split: pieces,
  Slice: sliced,
  Pad: padded,
  Expand: (c) => expand(c.x(0), broadcastShapes('Expand', c.x(0).shape, c.ints(1))),
  Tile: (c) => tile(c.x(0), c.ints(1)),
  Trilu: triangle,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
};

/** @file ONNX operators that make values: constants, shapes, ranges, one-hot vectors. */
import { sizeOf } from '../../dtype.js';
import type { HostTensor } from '../../dtype.js';
import { add, cast, equal, less, mul, sub, where } from '../../ops/arithmetic.js';
import { expand, narrow, reshape, transpose, unsqueeze } from '../../ops/layout.js';
import { constant, literal } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';

const INT64_MAX = 2n ** 63n - 1n;

/** Saturates: 2⁶³ − 1, the usual "to the end", is 2⁶³ as a number. */
function toInt64(v: number): bigint {
  return v >= 2 ** 63 ? INT64_MAX : BigInt(v);
}

function constantOf(c: Call): Tensor {
  const value = c.tensor('value');
  if (value) return constant(value);
  const int = c.int('value_int');
  if (int !== undefined) return constant({ data: BigInt64Array.of(toInt64(int)), shape: [], dtype: 'int64' });
  const ints = c.intList('value_ints');
  if (ints) return constant({ data: BigInt64Array.from(ints, toInt64), shape: [ints.length], dtype: 'int64' });
  const float = c.float('value_float');
  if (float !== undefined) return literal(float);
  return literal(c.floatList('value_floats') ?? c.fail('holds no plain numbers, which is not supported'));
}

function shapeOf(c: Call): Tensor {
  const { shape, rank } = c.x(0);
  const limit = (v: number): number => Math.min(Math.max(v < 0 ? v + rank : v, 0), rank);
  const part = shape.slice(limit(c.int('start', 0)), limit(c.int('end', rank)));
  return literal(part, [part.length], 'int64');
}

function filled(c: Call): Tensor {
  const value = c.tensor('value') ?? { data: new Float32Array(1), shape: [1], dtype: 'float32' };
  const shape = c.ints(0);
  if (value.data.length !== 1) c.fail(`fills with ${value.data.length} values`);
  if (shape.some((d) => d < 0)) c.fail(`impossible shape [${shape.join(', ')}]`);
  return expand(reshape(constant(value), []), shape);
}

/** start, start + delta, … before limit. */
function range(c: Call): Tensor {
  const [start, limit, delta] = [c.scalar(0), c.scalar(1), c.scalar(2)];
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  c.budget(count);
  return literal(Array.from({ length: count }, (_, i) => start + i * delta), [count], c.x(0).dtype);
}

/** Indices [rank, N] of what is not zero: only for values that are known, since N is a shape. */
function nonZero(c: Call): Tensor {
  const { data, shape }: HostTensor = c.host(0);
  const places = Array.from(data as Int32Array, Number).flatMap((v, i) => (v === 0 ? [] : [i]));
  const rows = shape.map((d, axis) => {
    const inner = sizeOf(shape.slice(axis + 1));
    return places.map((p) => Math.floor(p / inner) % d);
  });
  return literal(rows.flat(), [shape.length, places.length], 'int64');
}

/** values = [off, on]; negative ids count from the end, those outside the depth are off everywhere. */
function oneHot(c: Call): Tensor {
  const ids = cast(c.x(0), 'int64');
  const depth = c.scalar(1);
  const given = c.x(2);
  const values = given.dtype === 'bool' ? cast(given, 'int32') : given;
  const axis = c.int('axis', -1);
  const at = axis < 0 ? axis + ids.rank + 1 : axis;
  if (!(depth >= 0)) c.fail(`impossible depth ${depth}`);
  c.budget(depth);
  const positive = where(less(ids, 0), add(ids, depth), ids);
  const classes = literal(Array.from({ length: depth }, (_, i) => i), [depth], 'int64');
  const hot = cast(equal(unsqueeze(positive, ids.rank), classes), values.dtype); // [..., depth]
  const [off, on] = [narrow(values, 0, 0, 1), narrow(values, 0, 1, 2)];
  const filledIn = cast(add(mul(hot, sub(on, off)), off), given.dtype);
  const order = Array.from({ length: ids.rank }, (_, i) => i);
  return transpose(filledIn, [...order.slice(0, at), ids.rank, ...order.slice(at)]);
}

function identityMatrix(c: Call): Tensor {
  const x = c.x(0);
  const [h, w] = x.rank === 2 ? (x.shape as [number, number]) : c.fail(`takes a matrix, not ${x}`);
  const k = c.int('k', 0);
  c.budget(h * w);
  const values = Array.from({ length: h * w }, (_, i) => ((i % w) - Math.floor(i / w) === k ? 1 : 0));
  return literal(values, [h, w], c.dtype('dtype') ?? x.dtype);
}

export const values: Readonly<Record<string, Operator>> = {
  Constant: constantOf,
  ConstantOfShape: filled,
  Shape: shapeOf,
  Size: (c) => literal(c.x(0).size, [], 'int64'),
  Range: range,
  NonZero: nonZero,
  OneHot: oneHot,
  EyeLike: identityMatrix,
};


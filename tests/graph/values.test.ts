import { expect, test } from 'vitest';
import { fromFloat32, host } from '../../src/graph/dtype.js';
import * as m from '../../src/graph/ops/arithmetic.js';
import { cumSum } from '../../src/graph/ops/cumulative.js';
import { addAlong, embedding, oneHot } from '../../src/graph/ops/gather.js';
import { gatherNd, putAlong, scatterNd } from '../../src/graph/ops/gather-nd.js';
import * as l from '../../src/graph/ops/layout.js';
import { grad } from '../../src/graph/grad.js';
import { resize, upsampleNearest } from '../../src/graph/ops/resize.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { argMax, argMin, topK } from '../../src/graph/ops/topk.js';
import { full, input, literal } from '../../src/graph/tensor.js';
import { evaluate } from './evaluate.js';

// Values that derivatives do not vouch for. Everything else is compared with PyTorch in operators-torch.test.ts.

test('comparison, selection and integers', async () => {
  const x = literal([-2, 0, 3]);
  const i = literal([-7, 7, 8], [3], 'int64');
  const as = (t: ReturnType<typeof m.equal>) => m.cast(t, 'int32');
  const found = await evaluate({
    equal: as(m.equal(x, 0)), less: as(m.less(x, 0)), lessEqual: as(m.lessEqual(x, 0)), greater: as(m.greater(0, x)),
    greaterEqual: as(m.greaterEqual(x, 0)), and: as(m.and(m.less(x, 1), m.greater(x, -1))),
    or: as(m.or(m.less(x, 0), m.greater(x, 0))),
    not: as(m.not(m.equal(x, 0))), where: m.where(m.less(x, 1), x, literal([9, 8], [2, 1])),
    sign: m.sign(x), floor: m.floor(m.mul(x, 0.6)), ceil: m.ceil(m.mul(x, 0.6)),
    even: m.roundHalfEven(literal([0.5, 1.5, -2.5])),
    mod: m.mod(i, 5), fmod: m.mod(literal([-7, 7, 8]), 5), cast: m.cast(literal([1.9, -1.9, 0]), 'int64'),
    maximum: m.maximum(x, 1), minimum: m.minimum(x, literal([1, -5], [2, 1])),
    one: oneHot(literal([2, 0], [2], 'int64'), 3),
  });
  expect(found).toEqual({
    equal: [0, 1, 0], less: [1, 0, 0], lessEqual: [1, 1, 0], greater: [1, 0, 0], greaterEqual: [0, 1, 1],
    and: [0, 1, 0], or: [1, 0, 1], not: [1, 0, 1], where: [-2, 0, 9, -2, 0, 8],
    sign: [-1, 0, 1], floor: [-2, 0, 1], ceil: [-1, 0, 2],
    even: [0, 2, -2], mod: [3, 2, 3], fmod: [-2, 2, 3], cast: [1, -1, 0], maximum: [1, 1, 3],
    minimum: [-2, 0, 1, -5, -5, -5],
    one: [0, 0, 1, 1, 0, 0],
  });
});

test('largest elements and running sums', async () => {
  const x = literal([3, 1, 3, 2, 0, 0], [2, 3]);
  const [most, least] = [topK(x, 2), topK(x, 1, 0, false)];
  expect(await evaluate({
    argMax: argMax(x), argMin: argMin(x), argMax0: argMax(x, 0), values: most.values, indices: most.indices,
    leastValues: least.values, leastIndices: least.indices,
    forward: cumSum(x, 1), exclusive: cumSum(x, 1, { exclusive: true }), reverse: cumSum(x, -1, { reverse: true }),
    both: cumSum(x, 0, { exclusive: true, reverse: true }),
  })).toEqual({
    argMax: [0, 0], argMin: [1, 1], argMax0: [0, 0, 0], values: [3, 3, 2, 0], indices: [0, 2, 0, 1],
    leastValues: [2, 0, 0], leastIndices: [1, 1, 1],
    forward: [3, 4, 7, 2, 2, 2], exclusive: [0, 3, 4, 0, 2, 2], reverse: [7, 4, 3, 2, 0, 0], both: [2, 0, 0, 0, 0, 0],
  });
});

test('layout', async () => {
  const x = literal([1, 2, 3, 4, 5, 6], [2, 3]);
  expect(await evaluate({
    transpose: l.transpose(x, [1, 0]), flip: l.flip(x, [-1]), tile: l.tile(x, [1, 2]),
    slice: l.slice(x, [0, 0], [2, 3], [1, 2]), reflect: l.pad(x, [0, 2], [0, 1], 'reflect'),
    edge: l.pad(x, [1, 0], [0, 1], 'edge'), value: l.pad(x, [0, 1], [0, 0], 'constant', 7),
    stack: l.stack([x, m.neg(x)], 1), concat: l.concat([x, literal([0, 0], [2, 1])], 1),
  })).toEqual({
    transpose: [1, 4, 2, 5, 3, 6], flip: [3, 2, 1, 6, 5, 4], tile: [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6],
    slice: [1, 3, 4, 6], reflect: [3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5],
    edge: [1, 2, 3, 3, 1, 2, 3, 3, 4, 5, 6, 6], value: [7, 1, 2, 3, 7, 4, 5, 6],
    stack: [1, 2, 3, -1, -2, -3, 4, 5, 6, -4, -5, -6], concat: [1, 2, 3, 0, 4, 5, 6, 0],
  });
});

test('writing at indices', async () => {
  const x = literal([1, 2, 3, 4, 5, 6], [3, 2]);
  const tuples = literal([0, 1, -1, 0], [2, 2], 'int64');
  expect(await evaluate({
    put: putAlong(x, literal([2, 0], [1, 2], 'int64'), literal([7, 8], [1, 2]), 0),
    add: addAlong(x, literal([1, 1, 0, 1], [2, 2], 'int64'), literal([10, 20, 30, 40], [2, 2]), 1),
    read: gatherNd(x, tuples), write: scatterNd(x, tuples, literal([7, 8])),
    twice: scatterNd(x, literal([2, 2, 0], [3, 1], 'int64'), literal([1, 2, 3, 4, 5, 6], [3, 2]), 'add'),
  })).toEqual({
    put: [1, 8, 3, 4, 7, 6], add: [1, 32, 33, 44, 5, 6], read: [2, 5], write: [1, 7, 3, 4, 8, 6],
    twice: [6, 8, 3, 4, 9, 12],
  });
});

test('no update of an embedding is lost, however many threads', async () => {
  // 20,000 gradients into 4 rows: ONNX Runtime's ScatterND loses about half of them.
  const ids = BigInt64Array.from({ length: 20_000 }, (_, i) => BigInt(i % 4));
  const table = input('table', [4, 16]);
  const rows = embedding(input('ids', [20_000], 'int64'), table);
  const nd = gatherNd(table, input('tuples', [20_000, 1], 'int64'));
  const found = await evaluate({ rows: grad(sum(rows), [table])[0]!, nd: grad(sum(nd), [table])[0]! }, {
    table: host(new Float32Array(64), [4, 16]), ids: host(ids, [20_000], 'int64'),
    tuples: host(ids, [20_000, 1], 'int64'),
  });
  expect(new Set([...found.rows, ...found.nd])).toEqual(new Set([5000]));
});

test('resizing with corners that keep their place', async () => {
  const x = literal([0, 3, 6], [1, 1, 1, 3]);
  const found = await evaluate({
    linear: resize(x, [1, 5], { mode: 'linear', alignCorners: true }), one: resize(x, [2, 1], { alignCorners: true }),
    cubic: resize(x, [1, 3], { mode: 'cubic', alignCorners: true }), twice: upsampleNearest(x, [2, 1]),
  });
  expect(found).toEqual({ linear: [0, 1.5, 3, 4.5, 6], one: [0, 0], cubic: [0, 3, 6], twice: [0, 3, 6, 0, 3, 6] });
});

test('half precision is stored and widened', async () => {
  const x = input('x', [2], 'float16');
  const y = m.square(m.cast(x, 'float32'));
  const found = await evaluate({
    y, dx: m.cast(grad(sum(y), [x])[0]!, 'float32'),
    unused: m.cast(grad(sum(y), [input('z', [2], 'float16')])[0]!, 'float32'),
    half: m.cast(full([2], 0.5, 'float16'), 'float32'), brain: m.cast(literal([3, -1.5], [2], 'bfloat16'), 'float32'),
  }, { x: fromFloat32(Float32Array.of(1.5, -2), [2], 'float16') });
  expect(found).toEqual({ y: [2.25, 4], dx: [3, -4], unused: [0, 0], half: [0.5, 0.5], brain: [3, -1.5] });
});

test('powers: full of ones for 0, no NaN at zero', async () => {
  const x = literal([0, -2]);
  expect(await evaluate({ p0: m.pow(x, 0), p1: m.pow(x, 1), p2: m.pow(x, 2), p3: m.pow(x, 3), full: full([2], 5) }))
    .toEqual({ p0: [1, 1], p1: [0, -2], p2: [0, 4], p3: [0, -8], full: [5, 5] });
});

import { expect, test } from 'vitest';
import { cumSum } from '../../src/graph/ops/cumulative.js';
import * as r from '../../src/graph/ops/reduce.js';
import type { ReduceOptions } from '../../src/graph/ops/reduce.js';
import { topK } from '../../src/graph/ops/topk.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { apart, gradientErrors, gradientOf } from './finite-differences.js';
import type { Case } from './finite-differences.js';

const SHAPE = [3, 4, 5];
const OPTIONS: ReduceOptions[] = [
  {}, { keepDims: true }, { axes: [0] }, { axes: [-1], keepDims: true }, { axes: [2, 0] }, { axes: [-2, -1] },
  { axes: [] },
];

const reductions = (name: string, f: (x: Tensor, o: ReduceOptions) => Tensor, x: Case['inputs'][0] = SHAPE): Case[] =>
  OPTIONS.map((o) => ({ name: `${name} ${JSON.stringify(o)}`, inputs: [x], f: (t) => f(t, o) }));

const cases: Case[] = [
  ...reductions('sum', r.sum), ...reductions('mean', r.mean), ...reductions('logSumExp', r.logSumExp),
  ...reductions('max', r.max, apart(SHAPE)), ...reductions('min', r.min, apart(SHAPE)),
  ...reductions('norm', (x, o) => r.norm(x, { ...o, epsilon: 0.1 })),
  ...reductions('variance', r.variance).slice(0, -1), // of single numbers: all zero
  ...reductions('variance, corrected', (x, o) => r.variance(x, { ...o, correction: 1 })).slice(0, -1),
  ...[0, 1, -1].flatMap((axis) => [false, true].flatMap((exclusive) => [false, true].map((reverse): Case => ({
    name: `cumSum ${axis} ${exclusive} ${reverse}`,
    inputs: [SHAPE],
    f: (x) => cumSum(x, axis, { exclusive, reverse }),
  })))),
  { name: 'topK', inputs: [apart(SHAPE)], f: (x) => topK(x, 3).values },
  { name: 'topK, smallest', inputs: [apart(SHAPE)], f: (x) => topK(x, 2, 0, false).values },
  ...([[[3, 4], [2, 3, 4]], [[1, 4], [3, 4]], [[], [2, 3]], [[3, 1, 1], [3, 4, 5]]] as const).map(
    ([to, from]): Case => ({ name: `sumTo [${from}] → [${to}]`, inputs: [from], f: (x) => r.sumTo(x, to) }),
  ),
];

test('first derivatives', async () => {
  expect(await gradientErrors(cases)).toEqual([]);
});

test('second derivatives', async () => {
  expect(await gradientErrors(cases.map(gradientOf))).toEqual([]);
});

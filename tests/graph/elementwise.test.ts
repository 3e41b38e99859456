import { expect, test } from 'vitest';
import * as a from '../../src/graph/ops/activation.js';
import * as m from '../../src/graph/ops/arithmetic.js';
import { apply, literal } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { apart, between, gradientErrors, gradientOf } from './finite-differences.js';
import type { Case } from './finite-differences.js';

const BROADCASTS = [
  [[3, 4], [3, 4]], [[3, 4], [4]], [[3, 1], [1, 4]], [[], [2, 3]], [[2, 1, 4], [3, 1]], [[1], [5]],
] as const;

const pairs = (name: string, f: (x: Tensor, y: Tensor) => Tensor): Case[] =>
  BROADCASTS.map(([p, q]) => ({ name: `${name} [${p}] [${q}]`, inputs: [p, q], f }));
const single = (name: string, f: (x: Tensor) => Tensor, x: Case['inputs'][0] = [4, 5]): Case =>
  ({ name, inputs: [x], f });

const POSITIVE = between(0.5, 2, [4, 5]);
const KINKS = apart([4, 5]);

const smooth: Case[] = [
  ...pairs('add', m.add), ...pairs('sub', m.sub), ...pairs('mul', m.mul),
  ...BROADCASTS.flatMap(([p, q]): Case[] => [
    { name: `div [${p}] [${q}]`, inputs: [p, between(0.5, 2, q)], f: m.div },
    { name: `pow [${p}] [${q}]`, inputs: [between(0.5, 2, p), q], f: m.pow },
  ]),
  ...[-2, -1, 0, 0.5, 1, 2, 3, 5].map((n) => single(`x^${n}`, (x) => m.pow(x, n), POSITIVE)),
  // Powers of zero and of negative numbers.
  ...[0, 1, 2, 3].map((n) => single(`0^${n}`, (x) => m.pow(x, n), between(0, 0, [5]))),
  single('(−x)³', (x) => m.pow(m.neg(x), 3)),
  single('2^x', (x) => m.pow(2, x)),
  single('3 − x', (x) => m.sub(3, x)), single('3 / x', (x) => m.div(3, x), POSITIVE),
  single('exp', m.exp), single('log', m.log, POSITIVE), single('sqrt', m.sqrt, POSITIVE),
  single('rsqrt', m.rsqrt, POSITIVE), single('reciprocal', m.reciprocal, POSITIVE), single('square', m.square),
  single('sin', m.sin), single('cos', m.cos), single('erf', m.erf), single('tanh', m.tanh),
  single('sigmoid', m.sigmoid), single('softplus', m.softplus), single('logSigmoid', m.logSigmoid),
  single('neg', m.neg),
  single('silu', a.silu), single('quickGelu', a.quickGelu), single('gelu', a.gelu), single('geluTanh', a.geluTanh),
  ...[0, 1, -1].flatMap((axis): Case[] => [
    single(`softmax ${axis}`, (x) => a.softmax(x, axis), [2, 3, 4]),
    single(`logSoftmax ${axis}`, (x) => a.logSoftmax(x, axis), [2, 3, 4]),
  ]),
];

const kinked: Case[] = [
  single('abs', m.abs, KINKS), single('relu', a.relu, KINKS), single('relu6', (x) => a.relu6(m.mul(x, 8)), KINKS),
  single('leakyRelu', (x) => a.leakyRelu(x, 0.1), KINKS), single('elu', (x) => a.elu(x, 0.7), KINKS),
  single('hardSigmoid', (x) => a.hardSigmoid(m.mul(x, 4)), KINKS),
  single('hardSwish', (x) => a.hardSwish(m.mul(x, 4)), KINKS),
  { name: 'prelu', inputs: [KINKS, [5]], f: a.prelu },
  single('clip', (x) => m.clip(x, -0.75, 0.6), KINKS),
  { name: 'maximum', inputs: [KINKS, [1]], f: (x, y) => m.maximum(x, m.mul(y, 0)) },
  { name: 'minimum', inputs: [KINKS, [1]], f: (x, y) => m.minimum(m.mul(y, 0), x) },
  { name: 'where', inputs: [[4, 5], [5], KINKS], f: (x, y, c) => m.where(m.greater(c, 0), x, y) },
  {
    name: 'where, numbers',
    inputs: [[4, 5], KINKS],
    f: (x, c) => m.where(m.greater(c, 0), m.where(m.less(c, 0.9), x, 3), 2),
  },
];

test('first derivatives', async () => {
  expect(await gradientErrors([...smooth, ...kinked])).toEqual([]);
});

test('second derivatives', async () => {
  expect(await gradientErrors([...smooth, ...kinked].map(gradientOf))).toEqual([]);
});

test('a gradient that is wrong in one element by 2% is found', async () => {
  const factors = literal(Array.from({ length: 20 }, (_, i) => (i === 7 ? 2.04 : 2)), [4, 5]);
  const square = (x: Tensor): Tensor =>
    apply({ op: 'Mul', inputs: [x, x], vjps: [(g) => m.mul(m.mul(g, x), factors), null] }, x.shape);
  const errors = await gradientErrors([single('square', square, POSITIVE)]);
  expect(errors.length).toBeGreaterThan(0);
  expect(errors[0]).toMatch(/^square, input 0: .* where differences give /);
});

import { expect, test } from 'vitest';
import * as p from '../../src/graph/ops/pool.js';
import { resize, upsampleNearest } from '../../src/graph/ops/resize.js';
import type { ResizeOptions } from '../../src/graph/ops/resize.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { apart, gradientErrors, gradientOf } from './finite-differences.js';
import type { Case } from './finite-differences.js';

const X = [2, 2, 6, 7];
const PADDED = { kernel: 3, stride: 2, padding: 1 };
const cases: Case[] = ([
  ['average', (x) => p.avgPool2d(x, { kernel: 2 })],
  ['average, tiles', (x) => p.avgPool2d(x, { kernel: [3, 7] })],
  ['average, padded', (x) => p.avgPool2d(x, PADDED)],
  ['average, padding not counted', (x) =>
    p.avgPool2d(x, { kernel: 3, stride: [1, 2], padding: [1, 0, 2, 1], countPadding: false })],
  ['average, ceil', (x) => p.avgPool2d(x, { kernel: 2, stride: 3, ceil: true })],
  ['average, ceil, padded', (x) => p.avgPool2d(x, { ...PADDED, ceil: true })],
  ['average, ceil, padding not counted', (x) => p.avgPool2d(x, { ...PADDED, ceil: true, countPadding: false })],
  ['global average', p.globalAvgPool2d], ['global maximum', p.globalMaxPool2d],
  ['adaptive average', (x) => p.adaptiveAvgPool2d(x, [4, 3])],
  ['adaptive average, larger', (x) => p.adaptiveAvgPool2d(x, [7, 14])],
  ['maximum', (x) => p.maxPool2d(x, { kernel: 2 })], ['maximum, overlapping', (x) => p.maxPool2d(x, PADDED)],
  ['maximum, ceil', (x) => p.maxPool2d(x, { kernel: [2, 3], stride: 2, padding: [0, 1, 1, 0], ceil: true })],
  ['upsampleNearest', (x) => upsampleNearest(x, 2)], ['upsampleNearest, uneven', (x) => upsampleNearest(x, [1, 3])],
] as [string, (x: Tensor) => Tensor][]).map(([name, f]) => ({ name, inputs: [apart(X)], f }));

const MODES: ResizeOptions[] = [
  { mode: 'nearest' }, { mode: 'nearest-exact' }, { mode: 'linear' }, { mode: 'cubic' },
  { mode: 'linear', alignCorners: true }, { mode: 'cubic', alignCorners: true, cubicCoefficient: -0.5 },
  { mode: 'box', antialias: true }, { mode: 'linear', antialias: true }, { mode: 'cubic', antialias: true },
  { mode: 'lanczos', antialias: true },
];
const resizes = MODES.flatMap((options) => ([[12, 14], [3, 4], [9, 2]] as const).map((size): Case => (
  { name: `resize ${JSON.stringify(options)} to ${size}`, inputs: [X], f: (x) => resize(x, size, options) })));

test('first derivatives', async () => {
  expect(await gradientErrors([...cases, ...resizes])).toEqual([]);
});

test('second derivatives', async () => {
  expect(await gradientErrors([...cases, ...resizes].map(gradientOf))).toEqual([]);
});

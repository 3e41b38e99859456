import { expect, test } from 'vitest';
import * as g from '../../src/graph/ops/gather.js';
import { gatherNd, putAlong, scatterNd } from '../../src/graph/ops/gather-nd.js';
import * as l from '../../src/graph/ops/layout.js';
import { literal } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { gradientErrors, gradientOf, integers } from './finite-differences.js';
import type { Case } from './finite-differences.js';

const X = [2, 3, 4];
const layout: [string, (x: Tensor) => Tensor | readonly Tensor[]][] = [
  ['reshape', (x) => l.reshape(x, [4, -1])], ['reshape to its own shape', (x) => l.reshape(x, X)],
  ['flatten', (x) => l.flatten(x)], ['transpose', (x) => l.transpose(x, [2, 0, 1])], ['swapLast', l.swapLast],
  ['unsqueeze', (x) => l.unsqueeze(x, 0, -1)], ['squeeze', (x) => l.squeeze(l.unsqueeze(x, 1), 1)],
  ['expand', (x) => l.expand(l.unsqueeze(x, 2), [5, 2, 3, 6, 4])], ['tile', (x) => l.tile(x, [2, 1, 3])],
  ['slice', (x) => l.slice(x, [0, 1, 1], [1, 3, 4])],
  ['slice from the end', (x) => l.slice(x, [-1, -2, 0], [2, -1, -2])],
  ['slice with steps', (x) => l.slice(x, [0, 0, 1], [2, 3, 4], [1, 2, 2])],
  ['narrow', (x) => l.narrow(x, -1, 1, 3)], ['flip', (x) => l.flip(x, [0, -1])],
  ['split', (x) => l.split(x, [1, 2, 1], -1)], ['stack', (x) => l.stack([x, x], -1)],
  ['stack first', (x) => l.stack([x, x])],
  ['pad', (x) => l.pad(x, [1, 0, 2], [0, 2, 1], 'constant', 3)],
  ['pad reflect', (x) => l.pad(x, [1, 0, 3], [1, 2, 2], 'reflect')],
  ['pad edge', (x) => l.pad(x, [1, 3, 0], [0, 2, 5], 'edge')],
];

const ALONG = integers([1, 2, 0, 3, 2, 1], [3, 2]);
const TUPLES = integers([0, 1, 1, -1, 0, 1], [3, 2]);
const indexed: Case[] = [
  { name: 'concat', inputs: [[2, 1, 3], [2, 4, 3], [2, 2, 3]], f: (...xs) => l.concat(xs, 1) },
  { name: 'concat, last axis, one twice', inputs: [[2, 1], [2, 4]], f: (x, y) => l.concat([x, y, x], -1) },
  { name: 'gather', inputs: [X, integers([2, 0, 2, 2], [2, 2])], f: (x, i) => g.gather(x, i, 1) },
  { name: 'gather, first axis', inputs: [X, integers([1, 1, 0], [3])], f: (x, i) => g.gather(x, i) },
  { name: 'gather, last axis, from the end', inputs: [X, integers([-1, 1, -1], [3])], f: (x, i) => g.gather(x, i, -1) },
  { name: 'gather one', inputs: [X, integers([2], [])], f: (x, i) => g.gather(x, i, 1) },
  { name: 'gather a fixed order', inputs: [X], f: (x) => g.gather(x, literal([2, 0, 1], [3], 'int64'), 1) },
  { name: 'gather a fixed order from the end', inputs: [X], f: (x) => g.gather(x, literal([-1, 0], [2], 'int64'), 0) },
  { name: 'gather fixed places', inputs: [X], f: (x) => g.gather(x, literal([2, 0, 2], [3], 'int64'), 1) },
  { name: 'embedding', inputs: [integers([0, 5, 5, 2, 6, 0], [2, 3]), [7, 4]], f: (ids, t) => g.embedding(ids, t) },
  { name: 'takeAlong', inputs: [[3, 4], integers([1, 1, 0, 3, 2, 2], [3, 2])], f: (x, i) => g.takeAlong(x, i, -1) },
  { name: 'takeAlong, shorter', inputs: [[3, 4], integers([2, 0, 2, 1], [2, 2])], f: (x, i) => g.takeAlong(x, i, 0) },
  {
    name: 'addAlong',
    inputs: [[3, 4], integers([1, 1, 0, 3, 2, 2], [3, 2]), [3, 2]],
    f: (x, i, u) => g.addAlong(x, i, u, -1),
  },
  { name: 'putAlong', inputs: [[3, 4], ALONG, [3, 2]], f: (x, i, u) => putAlong(x, i, u, 1) },
  { name: 'gatherNd', inputs: [X, TUPLES], f: gatherNd },
  { name: 'scatterNd', inputs: [X, integers([0, 1, 1, 2], [2, 2]), [2, 4]], f: (x, i, u) => scatterNd(x, i, u) },
  { name: 'scatterNd add', inputs: [X, TUPLES, [3, 4]], f: (x, i, u) => scatterNd(x, i, u, 'add') },
];

const cases: Case[] = [...layout.map(([name, f]): Case => ({ name, inputs: [X], f })), ...indexed];

test('first derivatives', async () => {
  expect(await gradientErrors(cases)).toEqual([]);
});

test('second derivatives', async () => {
  expect(await gradientErrors(cases.map(gradientOf))).toEqual([]);
});

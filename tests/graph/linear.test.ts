import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { attention } from '../../src/graph/ops/attention.js';
import { conv2d, convTranspose2d } from '../../src/graph/ops/conv.js';
import type { ConvOptions, ConvTransposeOptions } from '../../src/graph/ops/conv.js';
import { unfusedAttention } from '../../src/graph/ops/fused-attention.js';
import { reshape, transpose } from '../../src/graph/ops/layout.js';
import { gemm, linear, matmul } from '../../src/graph/ops/matmul.js';
import * as n from '../../src/graph/ops/norm.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { evaluate } from './evaluate.js';
import { between, gradientErrors, gradientOf } from './finite-differences.js';
import type { Case } from './finite-differences.js';

const BATCHES = [
  [[3, 4], [4, 5]], [[2, 3, 4], [2, 4, 5]], [[2, 3, 4], [4, 5]], [[3, 4], [2, 4, 5]], [[2, 1, 3, 4], [3, 4, 2]],
  [[2, 2, 3, 4], [1, 2, 4, 1]],
] as const;

const products: Case[] = [
  ...BATCHES.map(([a, b]): Case => ({ name: `matmul [${a}] [${b}]`, inputs: [a, b], f: matmul })),
  ...[false, true].flatMap((ta) => [false, true].flatMap((tb): Case[] => {
    const factors = [ta ? [4, 3] : [3, 4], tb ? [5, 4] : [4, 5]];
    return [
      { name: `gemm ${ta} ${tb}`, inputs: factors, f: (a, b) => gemm(a!, b!, ta, tb) },
      { name: `gemm ${ta} ${tb} + c`, inputs: [...factors, [5]], f: (a, b, c) => gemm(a!, b!, ta, tb, c) },
    ];
  })),
  { name: 'linear', inputs: [[2, 3, 4], [5, 4], [5]], f: linear },
  { name: 'linear without bias', inputs: [[4], [5, 4]], f: (x, w) => linear(x, w) },
];

type Dims = readonly number[];
const conv = (name: string, x: Dims, w: Dims, options: ConvOptions = {}, bias = true): Case => ({
  name: `conv2d ${name}`, inputs: bias ? [x, w, [w[0]!]] : [x, w], f: (a, b, c) => conv2d(a!, b!, c, options),
});
const transposed = (name: string, x: Dims, w: Dims, options: ConvTransposeOptions = {}, bias = false): Case => ({
  name: `convTranspose2d ${name}`,
  inputs: bias ? [x, w, [w[1]! * (options.groups ?? 1)]] : [x, w],
  f: (a, b, c) => convTranspose2d(a!, b!, c, options),
});

const convolutions: Case[] = [
  conv('3 × 3', [2, 3, 5, 4], [4, 3, 3, 3], { padding: 1 }), conv('1 × 1', [2, 3, 3, 4], [5, 3, 1, 1]),
  conv('without padding or bias', [1, 2, 5, 6], [3, 2, 3, 2], {}, false),
  conv('stride 2', [2, 3, 7, 6], [4, 3, 3, 3], { stride: 2, padding: 1 }),
  conv('stride 2, padded at the end', [1, 2, 6, 8], [2, 2, 3, 3], { stride: 2, padding: [0, 0, 1, 1] }),
  conv('stride larger than kernel', [1, 2, 8, 7], [2, 2, 2, 2], { stride: 3 }),
  conv('1 × 1, stride 2', [1, 2, 5, 6], [3, 2, 1, 1], { stride: 2 }),
  conv('dilation', [1, 2, 7, 8], [3, 2, 3, 3], { dilation: 2, padding: 2 }),
  conv('dilation and stride', [1, 2, 9, 8], [2, 2, 3, 3], { dilation: 2, stride: 2, padding: 1 }),
  conv('groups', [2, 4, 5, 5], [6, 2, 3, 3], { groups: 2, padding: 1 }),
  conv('depthwise, stride 2', [2, 4, 6, 5], [4, 1, 3, 3], { groups: 4, padding: 1, stride: 2 }),
  conv('uneven', [1, 2, 7, 6], [3, 2, 3, 2], { stride: [2, 1], padding: [0, 1], dilation: [1, 2] }),
  conv('padding wider than the kernel', [1, 2, 3, 3], [2, 2, 2, 2], { padding: 3 }),
  transposed('plain', [2, 3, 3, 4], [3, 2, 3, 3], {}, true),
  transposed('stride 2', [1, 2, 3, 4], [2, 3, 4, 4], { stride: 2, padding: 1 }, true),
  transposed('output size', [1, 2, 3, 4], [2, 3, 3, 3], { stride: 2, padding: 1, outputSize: [6, 7] }),
  transposed('groups', [2, 4, 3, 3], [4, 2, 3, 3], { groups: 2, padding: 1 }),
  transposed('dilation', [1, 2, 4, 3], [2, 2, 3, 3], { dilation: 2, stride: 2, padding: 1 }),
];

const norms: Case[] = [
  { name: 'layerNorm', inputs: [[2, 3, 6], [6], [6]], f: (x, s, b) => n.layerNorm(x, s, b) },
  { name: 'layerNorm without shift', inputs: [[4, 5], [5]], f: (x, s) => n.layerNorm(x, s, undefined, 1e-2) },
  { name: 'groupNorm', inputs: [[2, 6, 3, 2], [6], [6]], f: (x, s, b) => n.groupNorm(x, 3, s, b) },
  { name: 'groupNorm, one group, no positions', inputs: [[3, 8], [8], [8]], f: (x, s, b) => n.groupNorm(x, 1, s, b) },
  {
    name: 'batchNorm',
    inputs: [[2, 3, 2, 2], [3], [3], [3], between(0.5, 2, [3])],
    f: (x, s, b, mu, variance) => n.batchNorm(x!, s!, b!, mu!, variance!),
  },
  { name: 'rmsNorm', inputs: [[2, 3, 5], [5]], f: (x, s) => n.rmsNorm(x, s) },
  { name: 'normalize', inputs: [[3, 4, 2]], f: (x) => n.normalize(x, 1) },
];

const [B, H, N, M] = [2, 2, 3, 4];
const QKV = [[B, H, N, 4], [B, H, M, 4], [B, H, M, 3]];
const attend = (mask?: readonly number[], blockBytes?: number, scale?: number): Case => ({
  name: `attention, mask [${mask}], blocks of ${blockBytes}`,
  inputs: mask ? [...QKV, mask] : QKV,
  f: (q, k, v, bias) => attention(q!, k!, v!, { mask: bias, blockBytes, scale }),
});
// 3 × 4 scores of 4 bytes a head: blocks of two heads, of one, of two queries of a head.
const attentions: Case[] = [
  attend(), attend(undefined, undefined, 0.3), attend(undefined, 96, 0.3), attend(undefined, 48), attend(undefined, 32),
  ...[[N, M], [1, M], [B, 1, N, M], [B, H, N, M], [B, 1, 1, M]].map((mask) => attend(mask)),
  attend([N, M], 32), attend([B, 1, N, M], 48), attend([1, H, 1, M], 96),
];

for (const [name, cases] of Object.entries({ products, convolutions, norms, attentions })) {
  test(`${name}: first derivatives`, async () => {
    expect(await gradientErrors(cases)).toEqual([]);
  });
  test(`${name}: second derivatives`, async () => {
    expect(await gradientErrors(cases.map(gradientOf))).toEqual([]);
  });
}

test('attention from plain operators is the fused one, in blocks of any size', async () => {
  const [q, k, v] = (['q', 'k', 'v'] as const).map((name, i) => input(name, [2, i === 0 ? 5 : 7, 12])) as [Tensor, Tensor, Tensor];
  const heads = (t: Tensor): Tensor => transpose(reshape(t, [2, t.shape[1]!, 3, 4]), [0, 2, 1, 3]);
  const outputs: Record<string, Tensor> = {
    fused: reshape(transpose(attention(heads(q), heads(k), heads(v), { scale: 0.4 }), [0, 2, 1, 3]), q.shape),
  };
  // 5 × 7 scores of 4 bytes for each of 6 heads: all at once, four heads, one head, two queries, less than one query.
  for (const bytes of [1e6, 4 * 140, 140, 56, 1]) outputs[`${bytes}`] = unfusedAttention(q, k, v, 3, 0.4, bytes);
  const feeds = Object.fromEntries([q, k, v].map((t) => [t.node.name!, host(normal({ seed: 2, stream: t.node.name!, step: 0 }, 0, t.size), t.shape)]));
  const { fused, ...blocks } = await evaluate(outputs, feeds);
  for (const found of Object.values(blocks)) found.forEach((value, i) => expect(value).toBeCloseTo(fused![i]!, 5));
});

/** @file One small case or more for every family of operators, to compare devices by. */
import * as g from '../../src/graph/index.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { apart, between, integers } from '../graph/finite-differences.js';
import type { Case } from '../graph/finite-differences.js';

type Unary = (x: Tensor) => Tensor;
type Binary = (x: Tensor, y: Tensor) => Tensor;

const positive = between(0.3, 2, [3, 4]);
const unary = (names: Readonly<Record<string, Unary>>, of: Case['inputs'][number] = [3, 4]): Case[] =>
  Object.entries(names).map(([name, f]) => ({ name, inputs: [of], f: (x) => f(x!) }));
const binary = (names: Readonly<Record<string, Binary>>): Case[] =>
  Object.entries(names).map(([name, f]) => ({ name, inputs: [apart([3, 4]), apart([2, 1, 4])], f: (x, y) => f(x!, y!) }));
const one = (name: string, inputs: Case['inputs'], f: Case['f']): Case => ({ name, inputs, f });

const { add, sub, mul, div, maximum, minimum } = g;
const picture = [2, 8, 6, 6];
const ids = integers([2, 0, 1, 2], [2, 2]);

export const FAMILIES: Readonly<Record<string, readonly Case[]>> = {
  'binary arithmetic': [
    ...binary({ add, sub, mul, div, maximum, minimum }),
    one('pow', [positive, between(-1, 2, [4])], (x, y) => g.pow(x!, y!)),
    one('mod', [positive], (x) => mul(x!, g.cast(g.mod(g.cast(mul(x!, 10), 'int32'), 3), 'float32'))),
  ],
  'unary arithmetic': [
    ...unary({
      exp: g.exp, square: g.square, erf: g.erf, tanh: g.tanh, sigmoid: g.sigmoid, softplus: g.softplus,
      logSigmoid: g.logSigmoid, neg: g.neg,
    }),
    ...unary({ log: g.log, sqrt: g.sqrt, rsqrt: g.rsqrt, reciprocal: g.reciprocal }, positive),
    ...unary({
      abs: g.abs, sign: (x) => mul(g.sign(x), x), clip: (x) => g.clip(x, -0.4, 0.4), floor: (x) => mul(g.floor(x), x),
      ceil: (x) => mul(g.ceil(x), x), round: (x) => mul(g.roundHalfEven(x), x), smooth: g.roundSmooth, through: g.roundStraightThrough,
    }, apart([3, 4])),
  ],
  trigonometry: unary({ sin: g.sin, cos: g.cos }),
  'comparison and selection': [
    ...binary({
      greater: (x, y) => g.where(g.greater(x, y), x, y),
      lessEqual: (x, y) => g.where(g.and(g.lessEqual(x, y), g.not(g.less(x, 0))), mul(x, 2), y),
      equal: (x, y) => g.where(g.or(g.equal(x, y), g.greaterEqual(y, 0)), mul(x, y), sub(y, x)),
    }),
  ],
  reductions: unary({
    sum: (x) => g.sum(x, { axes: [0] }), mean: (x) => g.mean(x, { axes: [1], keepDims: true }), all: (x) => g.sum(g.exp(x)),
    max: (x) => g.max(x, { axes: [1] }), min: (x) => g.min(x, { axes: [0] }), variance: (x) => g.variance(x, { axes: [1] }),
    norm: (x) => g.norm(x, { axes: [0], epsilon: 1e-6 }), logSumExp: (x) => g.logSumExp(x, { axes: [1] }),
    cumSum: (x) => g.cumSum(x, 1), normalize: (x) => g.normalize(x, 1),
  }, apart([3, 4])),
  products: [
    one('matmul', [[2, 3, 4], [2, 4, 5]], g.matmul as Case['f']),
    one('matmul, broadcast', [[2, 1, 3, 4], [3, 4, 2]], g.matmul as Case['f']),
    one('gemm', [[4, 3], [5, 4], [5]], (a, b, c) => g.gemm(a!, b!, true, true, c)),
    one('linear', [[2, 3, 8], [5, 8], [5]], (x, w, b) => g.linear(x!, w!, b)),
  ],
  // Few: SwiftShader takes a second or two to compile the shaders of each. The block below has the usual 3 × 3.
  convolutions: [
    one('stride 2', [picture, [4, 8, 3, 3], [4]], (x, w, b) => g.conv2d(x!, w!, b, { padding: 1, stride: 2 })),
    one('1 × 1', [picture, [4, 8, 1, 1]], (x, w) => g.conv2d(x!, w!)),
    one('depthwise', [picture, [8, 1, 3, 3]], (x, w) => g.conv2d(x!, w!, undefined, { padding: 1, groups: 8 })),
  ],
  pooling: unary({
    average: (x) => g.avgPool2d(x, { kernel: 3, stride: 2, padding: 1 }), max: (x) => g.maxPool2d(x, { kernel: 2 }),
    globalAverage: (x) => g.globalAvgPool2d(g.exp(x)), globalMax: g.globalMaxPool2d, adaptive: (x) => g.adaptiveAvgPool2d(x, [2, 3]),
  }, apart([1, 2, 6, 6])),
  resizing: unary({
    nearest: (x) => g.upsampleNearest(x, 2), bilinear: (x) => g.resize(x, [8, 9]),
    bicubic: (x) => g.resize(x, [3, 4], { mode: 'cubic', antialias: true }), lanczos: (x) => g.resize(x, [4, 3], { mode: 'lanczos', antialias: true }),
    corners: (x) => g.resize(x, [9, 9], { alignCorners: true }),
  }, [1, 2, 6, 6]),
  layout: [
    ...unary({
      reshape: (x) => mul(g.reshape(x, [4, 3]), 2), transpose: (x) => mul(g.transpose(x, [1, 0]), 2), flip: (x) => g.flip(x, [0, 1]),
      expand: (x) => g.expand(g.reshape(x, [3, 1, 4]), [3, 2, 4]), tile: (x) => g.tile(x, [2, 3]),
      slice: (x) => g.slice(x, [0, 1], [3, 4], [2, 2]), narrow: (x) => g.narrow(x, 1, 1, 3), stack: (x) => g.stack([x, mul(x, 2)], 1),
      pad: (x) => g.pad(x, [1, 0], [0, 2], 'constant', 0.5), reflect: (x) => g.pad(x, [1, 2], [2, 1], 'reflect'),
      edge: (x) => g.pad(x, [1, 2], [2, 1], 'edge'),
    }),
    one('split', [[3, 5]], (x) => g.split(x!, [2, 3], 1).map((t) => g.tanh(t))),
    one('concat', [[3, 2], [3, 4]], (x, y) => g.concat([x!, y!], 1)),
  ],
  norms: [
    one('layer', [[2, 3, 8], [8], [8]], (x, s, b) => g.layerNorm(x!, s!, b)),
    one('layer, far from zero', [between(19, 21, [2, 3, 8]), [8], [8]], (x, s, b) => g.layerNorm(x!, s!, b)),
    one('group', [picture, [8], [8]], (x, s, b) => g.groupNorm(x!, 4, s!, b!)),
    one('batch', [picture, [8], [8], [8], between(0.5, 2, [8])], (x, s, b, m, v) => g.batchNorm(x!, s!, b!, m!, v!)),
    one('root mean square', [[2, 3, 8], [8]], (x, s) => g.rmsNorm(x!, s!)),
  ],
  activations: unary({
    silu: g.silu, quickGelu: g.quickGelu, gelu: g.gelu, geluTanh: g.geluTanh, relu: g.relu, leakyRelu: g.leakyRelu, relu6: g.relu6,
    elu: g.elu, hardSigmoid: g.hardSigmoid, hardSwish: g.hardSwish, softmax: (x) => g.softmax(x, 0), logSoftmax: g.logSoftmax,
  }, apart([3, 4])),
  attention: [
    // With 32 tokens and more, fused operators take another path.
    one('plain', [[1, 2, 40, 8], [1, 2, 36, 8], [1, 2, 36, 8]], (q, k, v) => g.attention(q!, k!, v!)),
    one('masked', [[2, 2, 6, 8], [2, 2, 5, 8], [2, 2, 5, 8], [6, 5]], (q, k, v, mask) => g.attention(q!, k!, v!, { mask })),
  ],
  indices: [
    one('embedding', [ids, [3, 4]], (i, x) => g.embedding(i!, x!)),
    one('gather', [[4, 3], ids], (x, i) => g.gather(x!, i!, 1)),
    one('takeAlong', [[2, 3], ids], (x, i) => g.takeAlong(x!, i!, 1)),
    one('addAlong', [[2, 3], ids, [2, 2]], (x, i, u) => g.addAlong(x!, i!, u!, 1)),
    one('gatherNd', [[3, 4], integers([0, 1, 2, 3], [2, 2])], (x, i) => g.gatherNd(x!, i!)),
    one('scatterNd', [[3, 4], integers([0, 1, 2, 3], [2, 2]), [2]], (x, i, u) => g.scatterNd(x!, i!, u!)),
    one('oneHot', [[4], integers([1, 0, 3], [3])], (x, i) => mul(g.oneHot(i!, 4), x!)),
    one('topK', [apart([3, 5])], (x) => g.topK(x!, 2).values),
    one('argMax', [apart([3, 5])], (x) => mul(g.cast(g.argMax(x!, 1), 'float32'), g.sum(x!, { axes: [1] }))),
  ],
  'a block of a network': [
    one('residual and transformer', [picture, [8, 8, 3, 3], [8], [8], [16, 8], [8, 8], [2, 8], [8, 2]], (x, kernel, s, b, wide, square, down, up) => {
      const h = add(x!, g.conv2d(g.silu(g.groupNorm(x!, 4, s!, b!)), kernel!, b, { padding: 1 }));
      const rows = g.layerNorm(g.transpose(g.reshape(h, [2, 8, 36]), [0, 2, 1]), s!, b!);
      const q = add(g.linear(rows, square!), g.linear(g.linear(rows, down!), up!)); // with a LoRA
      const heads = (t: Tensor): Tensor => g.transpose(g.reshape(t, [2, 36, 2, 4]), [0, 2, 1, 3]);
      const mixed = g.reshape(g.transpose(g.attention(heads(q), heads(rows), heads(rows)), [0, 2, 1, 3]), [2, 36, 8]);
      const [value, gate] = g.split(g.linear(mixed, wide!), [8, 8], 2) as [Tensor, Tensor];
      return add(mixed, mul(value, g.gelu(gate)));
    }),
  ],
};

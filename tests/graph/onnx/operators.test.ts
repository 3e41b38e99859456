import { describe, test } from 'vitest';
import { host } from '../../../src/graph/dtype.js';
import type { HostTensor } from '../../../src/graph/dtype.js';
import type { AttributeSpec } from './model-file.js';
import { bool, expectSame, float32, int32, int64, noise } from './model-file.js';

interface Case {
  name?: string;
  op: string;
  opset?: number;
  /** Fed at run time, in this order; `null` leaves an input out. */
  feed?: (HostTensor | null)[];
  /** Inputs after those, written into the file. */
  fixed?: (HostTensor | null)[];
  attributes?: Record<string, AttributeSpec | undefined>;
  outputs?: HostTensor['dtype'][];
}

/** Operators of `domain`, those of one operator set together in one file, against ONNX Runtime. */
function check(title: string, cases: Case[], domain = ''): void {
  describe(title, () => {
    const opsets = new Set(cases.map((c) => c.opset ?? 17));
    test.each([...opsets])('operator set %i', async (opset) => {
      const feeds: Record<string, HostTensor> = {};
      const initializers: Record<string, HostTensor> = {};
      const outputs: Record<string, HostTensor['dtype']> = {};
      const nodes = cases.filter((c) => (c.opset ?? 17) === opset).map((c, k) => {
        const label = `${k}:${c.op} ${c.name ?? ''}`;
        const named = (into: Record<string, HostTensor>, kind: string) => (t: HostTensor | null, i: number): string => {
          if (!t) return '';
          const name = `${label} ${kind}${i}`;
          into[name] = t;
          return name;
        };
        const results = (c.outputs ?? ['float32']).map((dtype, i) => {
          outputs[`${label} y${i}`] = dtype;
          return `${label} y${i}`;
        });
        const given = [...(c.feed ?? []).map(named(feeds, 'x')), ...(c.fixed ?? []).map(named(initializers, 'c'))];
        return { op: c.op, domain, name: label, in: given, out: results, attributes: c.attributes ?? {} };
      });
      const inputs = Object.fromEntries(Object.entries(feeds).map(([k, v]) => [k, { shape: [...v.shape], dtype: v.dtype }]));
      const m = { opset, domains: domain ? { [domain]: 1 } : {}, nodes, outputs };
      await expectSame({ ...m, inputs, initializers }, feeds);
      // With all inputs known, what can be folded is.
      await expectSame({ ...m, initializers: { ...initializers, ...feeds } }, {});
    });
  });
}

const x = noise([2, 3, 4]);
const positive = float32(Array.from(noise([2, 3, 4]).data as Float32Array, (v) => Math.abs(v) + 0.1), [2, 3, 4]);
const image = noise([2, 4, 7, 6]);

check('element by element', [
  ...['Neg', 'Abs', 'Sign', 'Exp', 'Sin', 'Cos', 'Tan', 'Erf', 'Tanh', 'Sigmoid', 'Floor', 'Ceil', 'Relu', 'Softplus', 'Softsign', 'Elu', 'Selu', 'Celu', 'HardSigmoid', 'HardSwish', 'LeakyRelu', 'ThresholdedRelu', 'Identity'].map((op) => ({ op, feed: [noise([2, 3, 4], 5, 3)] })),
  { op: 'Mish', opset: 18, feed: [noise([2, 3, 4], 5, 3)] },
  { op: 'Round', feed: [float32([0.5, 1.5, 2.5, -0.5, -1.2, 3.7])] },
  ...['Sqrt', 'Log', 'Reciprocal'].map((op) => ({ op, feed: [positive] })),
  ...['Add', 'Sub', 'Mul', 'Div'].map((op) => ({ op, feed: [x, noise([3, 1], 2)] })),
  { op: 'Div', name: 'of integers', feed: [int64([7, -7, 7, -7]), int64([2, 2, -2, -2])], outputs: ['int64'] as const },
  { op: 'Mod', name: 'of integers', feed: [int64([7, -7, 7, -7]), int64([3, 3, -3, -3])], outputs: ['int64'] as const },
  { op: 'Mod', name: 'fmod of integers', feed: [int64([7, -7, 7, -7]), int64([3, 3, -3, -3])], attributes: { fmod: 1 }, outputs: ['int64'] as const },
  { op: 'Mod', name: 'fmod of floats', feed: [float32([7.5, -7.5, 7.5]), float32([2, 2, -2])], attributes: { fmod: 1 } },
  { op: 'Pow', name: 'square', feed: [x], fixed: [float32([2], [])] },
  { op: 'Pow', name: 'integer exponent', feed: [x], fixed: [int64([3], [])] },
  { op: 'Pow', name: 'of tensors', feed: [positive, noise([4])] },
  ...['Max', 'Min', 'Sum', 'Mean'].map((op) => ({ op, name: 'of three', feed: [x, noise([3, 1], 2), noise([4], 3)] })),
  { op: 'Max', name: 'of one', feed: [x] },
  { op: 'Clip', name: 'attributes', opset: 10, feed: [x], attributes: { min: { f: -0.3 }, max: { f: 0.4 } } },
  { op: 'Clip', name: 'inputs', feed: [x], fixed: [float32([-0.3], []), float32([0.4], [])] },
  { op: 'Clip', name: 'only max', feed: [x], fixed: [null, float32([0.4], [])] },
  { op: 'Clip', name: 'unknown limits', feed: [x, float32([-0.3], []), float32([0.4], [])] },
  { op: 'Clip', name: 'integers', feed: [int64([1, 5, 9])], fixed: [int64([2], []), int64([6], [])], outputs: ['int64'] },
  ...['Less', 'Greater', 'LessOrEqual', 'GreaterOrEqual', 'Equal'].map((op) => ({ op, feed: [float32([1, 2, 3]), float32([2], [1])], outputs: ['bool'] as const })),
  ...['And', 'Or', 'Xor'].map((op) => ({ op, feed: [bool([0, 0, 1, 1]), bool([0, 1, 0, 1])], outputs: ['bool'] as const })),
  { op: 'Not', feed: [bool([0, 1])], outputs: ['bool'] as const },
  { op: 'IsNaN', feed: [float32([1, NaN, Infinity])], outputs: ['bool'] as const },
  { op: 'IsInf', feed: [float32([1, -Infinity, Infinity])], outputs: ['bool'] as const },
  { op: 'IsInf', name: 'positive', feed: [float32([1, -Infinity, Infinity])], attributes: { detect_negative: 0 }, outputs: ['bool'] as const },
  { op: 'Where', feed: [bool([1, 0, 1, 0]), x, noise([3, 1], 4)] },
  { op: 'Cast', name: 'to int64', feed: [float32([1.7, -1.7, 3])], attributes: { to: 7 }, outputs: ['int64'] as const },
  { op: 'Cast', name: 'to float', feed: [int64([1, -2])], attributes: { to: 1 } },
  { op: 'Cast', name: 'to bool', feed: [float32([0, -2])], attributes: { to: 9 }, outputs: ['bool'] as const },
  { op: 'CastLike', feed: [int64([1, -2]), float32([1])] },
  { op: 'PRelu', feed: [image], fixed: [noise([4, 1, 1], 3)] },
  { op: 'Dropout', opset: 10, feed: [x], attributes: { ratio: { f: 0.5 } } },
  { op: 'Dropout', opset: 13, feed: [x], fixed: [float32([0.5], []), bool([0], [])] },
  { op: 'Gelu', opset: 20, feed: [x] },
  { op: 'Gelu', name: 'tanh', opset: 20, feed: [x], attributes: { approximate: 'tanh' } },
  { op: 'Elu', name: 'alpha', feed: [x], attributes: { alpha: { f: 0.5 } } },
  { op: 'Celu', name: 'alpha', feed: [x], attributes: { alpha: { f: 0.5 } } },
]);

check('softmax', ['Softmax', 'LogSoftmax'].flatMap((op) => [
  { op, opset: 11, feed: [x] },
  { op, name: 'last', opset: 12, feed: [x], attributes: { axis: -1 } },
  { op, opset: 13, feed: [x] },
  { op, name: 'axis 1', opset: 13, feed: [x], attributes: { axis: 1 } },
]));

check('reductions', [
  ...['ReduceMean', 'ReduceMax', 'ReduceMin', 'ReduceProd', 'ReduceL1', 'ReduceL2', 'ReduceSumSquare', 'ReduceLogSumExp', 'ReduceLogSum'].flatMap((op) => [
    { op, name: 'attribute', opset: 13, feed: [positive], attributes: { axes: [0, -1], keepdims: 0 } },
    { op, name: 'input', opset: 18, feed: [positive], fixed: [int64([1])] },
    { op, name: 'all', opset: 18, feed: [positive] },
  ]),
  { op: 'ReduceSum', opset: 11, feed: [x], attributes: { axes: [1] } },
  { op: 'ReduceSum', opset: 13, feed: [x], fixed: [int64([1])], attributes: { keepdims: 0 } },
  { op: 'ReduceSum', name: 'nothing', opset: 13, feed: [x], attributes: { noop_with_empty_axes: 1 } },
  { op: 'ReduceProd', name: 'of five with a zero', feed: [float32([1, 2, 0, 4, 5])] },
  { op: 'ArgMax', feed: [x], attributes: { axis: -1 }, outputs: ['int64'] },
  { op: 'ArgMin', feed: [x], attributes: { axis: 1, keepdims: 0 }, outputs: ['int64'] },
]);

check('layout', [
  { op: 'Reshape', feed: [x], fixed: [int64([0, -1])] },
  { op: 'Flatten', feed: [x] },
  { op: 'Flatten', name: 'negative axis', feed: [x], attributes: { axis: -1 } },
  { op: 'Flatten', name: 'axis 0', feed: [x], attributes: { axis: 0 } },
  { op: 'Squeeze', opset: 11, feed: [noise([1, 3, 1])], attributes: { axes: [0] } },
  { op: 'Squeeze', opset: 13, feed: [noise([1, 3, 1])], fixed: [int64([-1])] },
  { op: 'Squeeze', name: 'all', opset: 13, feed: [noise([1, 3, 1])] },
  { op: 'Unsqueeze', opset: 11, feed: [x], attributes: { axes: [0, 4] } },
  { op: 'Unsqueeze', opset: 13, feed: [x], fixed: [int64([-1])] },
  { op: 'Transpose', feed: [x] },
  { op: 'Transpose', name: 'perm', feed: [x], attributes: { perm: [1, 0, 2] } },
  { op: 'Concat', feed: [x, noise([2, 5, 4], 2)], attributes: { axis: 1 } },
  { op: 'Concat', name: 'negative axis', feed: [x, noise([2, 3, 1], 2)], attributes: { axis: -1 } },
  { op: 'Split', name: 'even', opset: 11, feed: [x], attributes: { axis: 2 }, outputs: ['float32', 'float32'] },
  { op: 'Split', name: 'attribute', opset: 11, feed: [x], attributes: { axis: 1, split: [1, 2] }, outputs: ['float32', 'float32'] },
  { op: 'Split', name: 'input', opset: 13, feed: [x], fixed: [int64([1, 3])], attributes: { axis: -1 }, outputs: ['float32', 'float32'] },
  { op: 'Split', name: 'num_outputs', opset: 18, feed: [noise([7, 2])], attributes: { num_outputs: 3 }, outputs: ['float32', 'float32', 'float32'] },
  { op: 'Slice', name: 'attributes', opset: 9, feed: [x], attributes: { starts: [1, -3], ends: [3, -1], axes: [1, 2] } },
  { op: 'Slice', name: 'inputs', opset: 10, feed: [x], fixed: [int64([0, 1]), int64([2, Number.MAX_SAFE_INTEGER]), int64([0, 2])] },
  { op: 'Slice', name: 'steps', opset: 13, feed: [noise([5, 7])], fixed: [int64([1, 0]), int64([5, 7]), int64([0, 1]), int64([3, 2])] },
  { op: 'Slice', name: 'backwards', opset: 13, feed: [noise([5, 7])], fixed: [int64([-1, 5]), int64([-100, 0]), int64([0, 1]), int64([-1, -2])] },
  { op: 'Slice', name: 'long step', opset: 13, feed: [noise([5])], fixed: [int64([1]), int64([5]), int64([0]), int64([99])] },
  { op: 'Slice', name: 'nothing', opset: 13, feed: [noise([5])], fixed: [int64([3]), int64([2]), int64([0])] },
  { op: 'Pad', name: 'attribute', opset: 10, feed: [x], attributes: { pads: [0, 1, 2, 0, 0, 1], value: { f: 3 } } },
  { op: 'Pad', name: 'input', opset: 13, feed: [x], fixed: [int64([0, 1, 2, 0, 0, 1]), float32([2], [])] },
  { op: 'Pad', name: 'negative', opset: 13, feed: [x], fixed: [int64([0, -1, 2, 0, 0, -1])] },
  { op: 'Pad', name: 'reflect', opset: 13, feed: [x], fixed: [int64([0, 1, 2, 0, 2, 1])], attributes: { mode: 'reflect' } },
  { op: 'Pad', name: 'edge', opset: 13, feed: [x], fixed: [int64([0, 1, 2, 0, 2, 1])], attributes: { mode: 'edge' } },
  { op: 'Pad', name: 'axes', opset: 18, feed: [x], fixed: [int64([1, 2, 3, 4]), null, int64([2, 0])] },
  { op: 'Expand', feed: [noise([3, 1])], fixed: [int64([2, 1, 4])] },
  { op: 'Tile', feed: [x], fixed: [int64([1, 2, 3])] },
  { op: 'Trilu', feed: [noise([2, 4, 5])] },
  { op: 'Trilu', name: 'lower', feed: [noise([4, 4])], fixed: [int64([-1], [])], attributes: { upper: 0 } },
  { op: 'DepthToSpace', feed: [noise([1, 8, 2, 3])], attributes: { blocksize: 2 } },
  { op: 'DepthToSpace', name: 'CRD', feed: [noise([1, 8, 2, 3])], attributes: { blocksize: 2, mode: 'CRD' } },
  { op: 'SpaceToDepth', feed: [noise([1, 2, 4, 6])], attributes: { blocksize: 2 } },
]);

check('values', [
  { op: 'Shape', feed: [x], outputs: ['int64'] },
  { op: 'Shape', name: 'part', feed: [x], attributes: { start: -2, end: 9 }, outputs: ['int64'] },
  { op: 'Size', feed: [x], outputs: ['int64'] },
  { op: 'ConstantOfShape', fixed: [int64([2, 3])] },
  { op: 'ConstantOfShape', name: 'value', fixed: [int64([2, 3])], attributes: { value: { t: int64([7]) } }, outputs: ['int64'] },
  { op: 'Range', fixed: [int64([3], []), int64([-4], []), int64([-2], [])], outputs: ['int64'] },
  { op: 'Range', name: 'floats', fixed: [float32([0], []), float32([1], []), float32([0.3], [])] },
  { op: 'NonZero', fixed: [bool([1, 0, 0, 1, 1, 0], [2, 3])], outputs: ['int64'] },
  { op: 'OneHot', feed: [int64([0, 2, -1, 9], [2, 2])], fixed: [int64([4], []), float32([-1, 5])] },
  { op: 'OneHot', name: 'axis 0', feed: [int64([0, 2, 1])], fixed: [int64([3], []), float32([0, 1])], attributes: { axis: 0 } },
  { op: 'EyeLike', feed: [noise([3, 4])], attributes: { k: 1 } },
  { op: 'Constant', attributes: { value: { t: noise([2, 2]) } } },
  { op: 'Constant', name: 'float', attributes: { value_float: { f: 2.5 } } },
  { op: 'Constant', name: 'floats', attributes: { value_floats: { fs: [1, 2] } } },
  { op: 'Constant', name: 'int', attributes: { value_int: 3 }, outputs: ['int64'] },
  { op: 'Constant', name: 'ints', attributes: { value_ints: [3, -4] }, outputs: ['int64'] },
]);

check('indexing', [
  { op: 'Gather', feed: [x], fixed: [int64([2, -1, 0], [3])], attributes: { axis: 1 } },
  { op: 'Gather', name: 'scalar', feed: [x], fixed: [int64([-1], [])], attributes: { axis: 2 } },
  { op: 'Gather', name: 'fed indices', feed: [x, int64([1, 0, 0, 1], [2, 2])] },
  { op: 'GatherElements', feed: [x, int64([0, 2, 1, 1, 0, -1, 2, 2], [2, 1, 4])], attributes: { axis: 1 } },
  { op: 'GatherND', feed: [x], fixed: [int64([0, 2, 1, -1], [2, 2])] },
  { op: 'GatherND', name: 'batched', feed: [x], fixed: [int64([2, 0], [2, 1])], attributes: { batch_dims: 1 } },
  { op: 'ScatterND', opset: 16, feed: [x], fixed: [int64([0, 2, 1, 1], [2, 2]), noise([2, 4], 9)] },
  { op: 'ScatterND', name: 'add', opset: 16, feed: [x], fixed: [int64([0, 2, 0, 2], [2, 2]), noise([2, 4], 9)], attributes: { reduction: 'add' } },
  { op: 'ScatterElements', opset: 16, feed: [x], fixed: [int64([0, -1, 1, 2, 0, 1, 1, 0], [2, 1, 4]), noise([2, 1, 4], 9)], attributes: { axis: 1 } },
  { op: 'ScatterElements', name: 'add', opset: 16, feed: [x], fixed: [int64([0, 0, 1, 2, 0, 1, 1, 0], [2, 1, 4]), noise([2, 1, 4], 9)], attributes: { axis: 1, reduction: 'add' } },
  { op: 'Scatter', opset: 10, feed: [noise([2, 3])], fixed: [int64([1, 0], [1, 2]), noise([1, 2], 9)] },
  ...[[0, 0], [1, 0], [0, 1], [1, 1]].map(([exclusive, reverse]) => ({ op: 'CumSum', feed: [x], fixed: [int64([-2], [])], attributes: { exclusive: exclusive!, reverse: reverse! } })),
  { op: 'TopK', opset: 11, feed: [x], fixed: [int64([2])], outputs: ['float32', 'int64'] },
  { op: 'TopK', name: 'least', opset: 11, feed: [x], fixed: [int64([2])], attributes: { axis: 1, largest: 0 }, outputs: ['float32', 'int64'] },
]);

check('products', [
  { op: 'MatMul', feed: [x, noise([4, 5], 2)] },
  { op: 'MatMul', name: 'batches', feed: [noise([2, 1, 3, 4]), noise([5, 4, 2], 2)] },
  { op: 'MatMul', name: 'vector left', feed: [noise([4]), noise([2, 4, 3], 2)] },
  { op: 'MatMul', name: 'vector right', feed: [x, noise([4], 2)] },
  { op: 'MatMul', name: 'two vectors', feed: [noise([4]), noise([4], 2)] },
  { op: 'Gemm', feed: [noise([3, 4]), noise([4, 5], 2), noise([5], 3)] },
  { op: 'Gemm', name: 'transposed', feed: [noise([4, 3]), noise([5, 4], 2), noise([3, 1], 3)], attributes: { transA: 1, transB: 1, alpha: { f: 0.5 }, beta: { f: 2 } } },
  { op: 'Gemm', name: 'without C', opset: 11, feed: [noise([3, 4]), noise([4, 5], 2)] },
  ...[
    ['ij,jk->ik', [3, 4], [4, 5]], ['bhid,bhjd->bhij', [2, 3, 4, 5], [2, 3, 6, 5]], ['bchw,bkc->bkhw', [2, 3, 4, 5], [2, 6, 3]],
    ['...ij,...jk->...ik', [2, 3, 4], [2, 4, 5]], ['i,j->ij', [3], [4]], ['ij,ij->', [3, 4], [3, 4]], ['ij,jk', [3, 4], [4, 5]], ['bij,bik->bkj', [2, 3, 4], [2, 3, 5]],
  ].map(([equation, a, b]) => ({ op: 'Einsum', name: equation as string, feed: [noise(a as number[]), noise(b as number[], 2)], attributes: { equation: equation as string } })),
  { op: 'Einsum', name: 'ijk->ki', feed: [x], attributes: { equation: 'ijk->ki' } },
  { op: 'Einsum', name: 'three', feed: [noise([2, 3]), noise([3, 4], 2), noise([4, 5], 3)], attributes: { equation: 'ab,bc,cd->ad' } },
]);

check('convolutions', [
  { op: 'Conv', feed: [image], fixed: [noise([5, 4, 3, 3], 2), noise([5], 3)], attributes: { pads: [1, 0, 2, 1], strides: [2, 1] } },
  { op: 'Conv', name: 'groups', feed: [image], fixed: [noise([8, 2, 3, 2], 2)], attributes: { group: 2, dilations: [2, 1], kernel_shape: [3, 2] } },
  { op: 'Conv', name: 'depthwise', feed: [image], fixed: [noise([4, 1, 3, 3], 2)], attributes: { group: 4, auto_pad: 'SAME_UPPER', strides: [2, 2] } },
  { op: 'Conv', name: 'SAME_LOWER', feed: [image], fixed: [noise([5, 4, 4, 4], 2)], attributes: { auto_pad: 'SAME_LOWER', strides: [2, 1] } },
  { op: 'Conv', name: 'VALID', feed: [image], fixed: [noise([5, 4, 2, 2], 2)], attributes: { auto_pad: 'VALID' } },
  { op: 'Conv', name: '1-D', feed: [noise([2, 3, 9])], fixed: [noise([4, 3, 3], 2), noise([4], 3)], attributes: { pads: [1, 2], strides: [2] } },
  { op: 'Conv', name: 'fed weights', feed: [image, noise([5, 4, 1, 1], 2)] },
  { op: 'ConvTranspose', feed: [image], fixed: [noise([4, 3, 3, 3], 2), noise([3], 3)], attributes: { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] } },
  { op: 'ConvTranspose', name: 'groups', feed: [image], fixed: [noise([4, 3, 2, 2], 2)], attributes: { group: 2, strides: [2, 1] } },
  { op: 'ConvTranspose', name: 'output_shape', feed: [image], fixed: [noise([4, 3, 3, 3], 2)], attributes: { strides: [2, 2], output_shape: [14, 12] } },
  { op: 'ConvTranspose', name: 'SAME_UPPER', feed: [image], fixed: [noise([4, 3, 3, 3], 2)], attributes: { strides: [2, 2], auto_pad: 'SAME_UPPER' } },
  { op: 'ConvTranspose', name: '3-D', feed: [noise([2, 4, 3, 4, 5])], fixed: [noise([4, 3, 3, 2, 3], 2), noise([3], 3)],
    attributes: { strides: [2, 1, 2], pads: [1, 0, 1, 0, 1, 1], output_padding: [1, 0, 0], dilations: [2, 1, 1] } },
  { op: 'ConvTranspose', name: '3-D, groups', feed: [noise([1, 4, 2, 3, 3])], fixed: [noise([4, 2, 2, 2, 2], 2)], attributes: { group: 2, strides: [3, 2, 1] } },
  { op: 'ConvTranspose', name: '1-D', feed: [noise([2, 3, 9])], fixed: [noise([3, 4, 3], 2)], attributes: { strides: [2] } },
]);

const wide = noise([1, 2, 9]);
check('pooling', [
  { op: 'AveragePool', feed: [image], attributes: { kernel_shape: [3, 2], strides: [2, 1] } },
  { op: 'AveragePool', name: 'padded', feed: [image], attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 0] } },
  { op: 'AveragePool', name: 'padding counts', feed: [image], attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [2, 2], count_include_pad: 1 } },
  { op: 'AveragePool', name: 'ceil', opset: 19, feed: [image], attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 0, 0], ceil_mode: 1 } },
  { op: 'AveragePool', name: 'SAME_LOWER', feed: [image], attributes: { kernel_shape: [2, 2], auto_pad: 'SAME_LOWER' } },
  { op: 'AveragePool', name: '1-D', feed: [wide], attributes: { kernel_shape: [4], strides: [3] } },
  { op: 'MaxPool', feed: [image], attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] } },
  { op: 'MaxPool', name: 'ceil', feed: [image], attributes: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 } },
  { op: 'MaxPool', name: 'SAME_UPPER', feed: [image], attributes: { kernel_shape: [3, 3], strides: [2, 2], auto_pad: 'SAME_UPPER' } },
  { op: 'MaxPool', name: '1-D', feed: [wide], attributes: { kernel_shape: [2], strides: [2] } },
  { op: 'GlobalAveragePool', feed: [image] },
  { op: 'GlobalMaxPool', feed: [image] },
  { op: 'GlobalAveragePool', name: '1-D', feed: [wide] },
]);

const scales = (v: number, h: number): (HostTensor | null)[] => [null, float32([1, 1, v, h])];
const sizes = (v: number, h: number): (HostTensor | null)[] => [null, null, int64([2, 4, v, h])];
const places = ['half_pixel', 'pytorch_half_pixel', 'align_corners', 'asymmetric'];
check('resizing', [
  { op: 'Upsample', opset: 9, feed: [image], fixed: [float32([1, 1, 2, 3])] },
  { op: 'Upsample', name: 'linear', opset: 9, feed: [image], fixed: [float32([1, 1, 2, 1.5])], attributes: { mode: 'linear' } },
  { op: 'Upsample', name: 'attribute', opset: 7, feed: [image], attributes: { scales: { fs: [1, 1, 2, 2] } } },
  { op: 'Resize', opset: 10, feed: [image], fixed: [float32([1, 1, 2, 0.5])] },
  { op: 'Resize', name: 'linear', opset: 10, feed: [image], fixed: [float32([1, 1, 1.7, 2])], attributes: { mode: 'linear' } },
  ...places.flatMap((place) => ['nearest', 'linear', 'cubic'].flatMap((mode) => [
    { op: 'Resize', name: `${mode} ${place} up`, opset: 13, feed: [image], fixed: scales(2, 1.5), attributes: { mode, coordinate_transformation_mode: place } },
    { op: 'Resize', name: `${mode} ${place} down`, opset: 13, feed: [image], fixed: sizes(4, 3), attributes: { mode, coordinate_transformation_mode: place } },
  ])),
  ...['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'].map((nearest) => (
    { op: 'Resize', name: nearest, opset: 11, feed: [image], fixed: [float32([]), float32([]), int64([2, 4, 10, 9])], attributes: { nearest_mode: nearest, coordinate_transformation_mode: 'half_pixel' } }
  )),
  { op: 'Resize', name: 'tf_half_pixel_for_nn', opset: 11, feed: [image], fixed: [float32([]), float32([1, 1, 0.6, 0.6])], attributes: { coordinate_transformation_mode: 'tf_half_pixel_for_nn', nearest_mode: 'floor' } },
  { op: 'Resize', name: 'inside only', opset: 13, feed: [image], fixed: scales(2, 1.5), attributes: { mode: 'cubic', exclude_outside: 1, cubic_coeff_a: { f: -0.5 } } },
  { op: 'Resize', name: 'axes', opset: 18, feed: [image], fixed: [null, null, int64([3, 12])], attributes: { mode: 'linear', axes: [3, 2] } },
  { op: 'Resize', name: 'antialias', opset: 18, feed: [image], fixed: sizes(3, 4), attributes: { mode: 'linear', antialias: 1 } },
  { op: 'Resize', name: 'antialias inside only', opset: 18, feed: [image], fixed: sizes(3, 4), attributes: { mode: 'linear', antialias: 1, exclude_outside: 1 } },
  { op: 'Resize', name: 'antialias pytorch', opset: 18, feed: [image], fixed: sizes(3, 13), attributes: { mode: 'cubic', antialias: 1, coordinate_transformation_mode: 'pytorch_half_pixel' } },
  { op: 'Resize', name: 'antialias cubic', opset: 18, feed: [image], fixed: sizes(3, 9), attributes: { mode: 'cubic', antialias: 1, cubic_coeff_a: { f: -0.5 }, exclude_outside: 1 } },
  { op: 'Resize', name: 'symmetric', opset: 19, feed: [image], fixed: scales(1.3, 0.7), attributes: { mode: 'linear', coordinate_transformation_mode: 'half_pixel_symmetric' } },
  { op: 'Resize', name: '1-D', opset: 13, feed: [wide], fixed: [null, float32([1, 1, 2])], attributes: { mode: 'linear' } },
]);

const volume = noise([2, 4, 5, 6, 7]);
const bytes = (values: number[], shape = [values.length]): HostTensor => host(Uint8Array.from(values), shape, 'uint8');
const int8 = (values: number[], shape = [values.length]): HostTensor => host(Int8Array.from(values), shape, 'int8');
check('trigonometry', [
  ...['Asin', 'Acos', 'Atan', 'Sinh', 'Cosh', 'Asinh', 'Atanh'].map((op) => ({ op, feed: [noise([2, 3], 5, 0.9)] })),
  { op: 'Acosh', feed: [float32([1.5, 2, 30])] },
]);

check('small integers', [
  { op: 'Where', name: 'bytes', opset: 16, feed: [bool([1, 0]), bytes([1, 2]), bytes([3, 4])], outputs: ['uint8'] },
  { op: 'ReduceMax', name: 'bool', opset: 20, feed: [bool([1, 0, 0, 0], [2, 2])], fixed: [int64([1])], outputs: ['bool'] },
  { op: 'ReduceMin', name: 'bool', opset: 20, feed: [bool([1, 0, 1, 1], [2, 2])], fixed: [int64([1])], outputs: ['bool'] },
  { op: 'ReduceL2', name: 'integers', opset: 18, feed: [int32([3, 4, 5, 6], [2, 2])], fixed: [int64([1])], outputs: ['int32'] },
]);

check('quantisation', [
  { op: 'QuantizeLinear', opset: 13, feed: [noise([2, 3, 4], 5, 9)], fixed: [float32([0.05], []), bytes([100], [])], outputs: ['uint8'] },
  { op: 'QuantizeLinear', name: 'int8', opset: 13, feed: [noise([2, 3, 4], 5, 9)], fixed: [float32([0.05, 0.1, 0.02]), int8([0, 3, -7])], attributes: { axis: 1 }, outputs: ['int8'] },
  { op: 'QuantizeLinear', name: 'no zero', opset: 21, feed: [noise([2, 3, 4], 5, 9)], fixed: [float32([0.05], [])], outputs: ['uint8'] },
  { op: 'DequantizeLinear', opset: 13, feed: [bytes([0, 100, 255])], fixed: [float32([0.05], []), bytes([100], [])] },
  { op: 'DequantizeLinear', name: 'per axis', opset: 13, feed: [int8([-128, 1, 127, 4], [2, 2])], fixed: [float32([0.05, 2]), int8([1, 2])], attributes: { axis: 0 } },
  { op: 'DequantizeLinear', name: 'in blocks', opset: 21, feed: [int8([-128, 1, 127, 4, 9, -7], [2, 3])], fixed: [float32([0.05, 2, 0.5, 3], [2, 2]), int8([1, 2, 0, -1], [2, 2])], attributes: { axis: 1, block_size: 2 } },
  { op: 'DequantizeLinear', name: 'in blocks of the first axis', opset: 21, feed: [int8([-128, 1, 127, 4, 9, -7], [3, 2])], fixed: [float32([0.05, 2, 0.5, 3], [2, 2])], attributes: { axis: 0, block_size: 2 } },
  { op: 'DequantizeLinear', name: 'int32', opset: 13, feed: [int32([-1280, 1, 127000])], fixed: [float32([0.05], [])] },
]);

check('attention', [
  ...[23, 24].flatMap((opset) => [
    { op: 'Attention', opset, feed: [noise([2, 3, 5, 4]), noise([2, 3, 6, 4], 2), noise([2, 3, 6, 7], 3)] },
    { op: 'Attention', name: 'from three axes', opset, feed: [noise([2, 5, 12]), noise([2, 6, 12], 2), noise([2, 6, 9], 3)], attributes: { q_num_heads: 3, kv_num_heads: 3, scale: { f: 0.3 } } },
    { op: 'Attention', name: 'grouped', opset, feed: [noise([2, 5, 24]), noise([2, 6, 8], 2), noise([2, 6, 8], 3)], attributes: { q_num_heads: 6, kv_num_heads: 2 } },
    { op: 'Attention', name: 'causal', opset, feed: [noise([2, 3, 5, 4]), noise([2, 3, 5, 4], 2), noise([2, 3, 5, 4], 3)], attributes: { is_causal: 1 } },
    { op: 'Attention', name: 'added mask', opset, feed: [noise([2, 3, 5, 4]), noise([2, 3, 6, 4], 2), noise([2, 3, 6, 4], 3), noise([5, 6], 4)] },
    { op: 'Attention', name: 'mask of truths', opset, feed: [noise([2, 3, 2, 4]), noise([2, 3, 3, 4], 2), noise([2, 3, 3, 4], 3), bool([1, 0, 1, 0, 1, 1], [2, 3])] },
    { op: 'Attention', name: 'softcap', opset, feed: [noise([2, 3, 5, 4], 1, 3), noise([2, 3, 6, 4], 2, 3), noise([2, 3, 6, 4], 3)], attributes: { softcap: { f: 2 } } },
  ]),
  { op: 'Attention', name: 'with a past', opset: 23, feed: [noise([2, 3, 5, 4]), noise([2, 3, 5, 4], 2), noise([2, 3, 5, 4], 3)], fixed: [null, noise([2, 3, 2, 4], 5), noise([2, 3, 2, 4], 6)], outputs: ['float32', 'float32', 'float32'] },
  { op: 'RotaryEmbedding', opset: 23, feed: [noise([2, 3, 4, 8])], fixed: [noise([9, 4], 2), noise([9, 4], 3), int64([0, 2, 8, 1, 1, 1, 3, 4], [2, 4])] },
  { op: 'RotaryEmbedding', name: 'from three axes', opset: 23, feed: [noise([2, 4, 24])], fixed: [noise([9, 4], 2), noise([9, 4], 3), int64([0, 2, 8, 1, 1, 1, 3, 4], [2, 4])], attributes: { num_heads: 3, interleaved: 1 } },
  { op: 'RotaryEmbedding', name: 'in part', opset: 23, feed: [noise([2, 3, 4, 8])], fixed: [noise([2, 4, 2], 2), noise([2, 4, 2], 3)], attributes: { rotary_embedding_dim: 4 } },
]);

check('over volumes and with gaps', [
  { op: 'Conv', name: '3-D', feed: [volume], fixed: [noise([3, 4, 2, 3, 2], 2), noise([3], 3)], attributes: { pads: [1, 0, 1, 0, 1, 1], strides: [2, 1, 2], dilations: [2, 1, 1] } },
  { op: 'Conv', name: '3-D groups', feed: [volume], fixed: [noise([4, 2, 3, 3, 3], 2)], attributes: { group: 2, auto_pad: 'SAME_UPPER' } },
  { op: 'MaxPool', name: '3-D', feed: [volume], attributes: { kernel_shape: [2, 3, 2], strides: [2, 2, 1], pads: [0, 1, 0, 1, 1, 0] } },
  { op: 'AveragePool', name: '3-D', feed: [volume], attributes: { kernel_shape: [2, 3, 2], strides: [1, 2, 1], pads: [1, 1, 0, 0, 1, 0] } },
  { op: 'AveragePool', name: '3-D padding counts', feed: [volume], attributes: { kernel_shape: [2, 3, 2], strides: [2, 2, 1], pads: [1, 1, 0, 1, 1, 0], count_include_pad: 1 } },
  { op: 'GlobalAveragePool', name: '3-D', feed: [volume] },
  { op: 'MaxPool', name: 'dilated', feed: [image], attributes: { kernel_shape: [2, 3], dilations: [3, 2], pads: [1, 0, 1, 1] } },
  { op: 'AveragePool', name: 'dilated', opset: 19, feed: [image], attributes: { kernel_shape: [2, 3], dilations: [3, 2], strides: [2, 1] } },
  { op: 'AveragePool', name: 'dilated, padded', opset: 19, feed: [image], attributes: { kernel_shape: [3, 2], dilations: [2, 2], pads: [1, 1, 1, 0] } },
]);

const grid = noise([1, 3, 5, 2], 4, 1.6);
const picture = noise([1, 2, 5, 4]);
check('sampling', [
  ...['bilinear', 'nearest', 'bicubic'].flatMap((mode) => ['zeros', 'border', 'reflection'].flatMap((padding_mode) => [0, 1].map((align_corners) => (
    { op: 'GridSample', name: `${mode} ${padding_mode} ${align_corners}`, opset: 16, feed: [picture, grid], attributes: { mode, padding_mode, align_corners } }
  )))),
  { op: 'GridSample', opset: 20, feed: [image, noise([2, 3, 5, 2], 4, 1.2)] },
  { op: 'GridSample', name: 'cubic', opset: 20, feed: [picture, grid], attributes: { mode: 'cubic', padding_mode: 'border' } },
]);

const sequence = noise([5, 2, 3]);
check('recurrence', [
  ...(['LSTM', 'GRU', 'RNN'] as const).flatMap((op) => {
    const [n, k] = [{ LSTM: 4, GRU: 3, RNN: 1 }[op], op === 'LSTM' ? 2 : 1];
    const outputs = ['float32', 'float32', 'float32'].slice(0, 1 + k) as 'float32'[];
    const weights = (d: number): HostTensor[] => [noise([d, 4 * n, 3], 2), noise([d, 4 * n, 4], 3)];
    const state = (d: number): HostTensor[] => Array.from({ length: k }, (_, i) => noise([d, 2, 4], 5 + i));
    return [
      { op, feed: [sequence], fixed: weights(1), attributes: { hidden_size: 4 }, outputs },
      { op, name: 'reverse', feed: [sequence], fixed: [...weights(1), noise([1, 8 * n], 4), int32([5, 5]), ...state(1)], attributes: { hidden_size: 4, direction: 'reverse' }, outputs },
      { op, name: 'both ways', feed: [sequence], fixed: [...weights(2), noise([2, 8 * n], 4), null, ...state(2)], attributes: { hidden_size: 4, direction: 'bidirectional' }, outputs },
    ];
  }),
  { op: 'LSTM', name: 'peepholes', feed: [sequence], fixed: [noise([1, 16, 3], 2), noise([1, 16, 4], 3), noise([1, 32], 4), null, null, null, noise([1, 12], 7)], attributes: { hidden_size: 4 } },
  { op: 'LSTM', name: 'relu', feed: [sequence], fixed: [noise([1, 16, 3], 2), noise([1, 16, 4], 3)], attributes: { hidden_size: 4, activations: { ss: ['Sigmoid', 'Relu', 'Tanh'] } } },
  { op: 'GRU', name: 'reset after', feed: [sequence], fixed: [noise([1, 12, 3], 2), noise([1, 12, 4], 3), noise([1, 24], 4)], attributes: { hidden_size: 4, linear_before_reset: 1 } },
]);

check('the rest of operators', [
  { op: 'LRN', feed: [image], attributes: { size: 3, alpha: { f: 0.5 }, beta: { f: 0.6 }, bias: { f: 2 } } },
  ...[['ii->i', [3, 3]], ['ii', [3, 3]], ['bii->b', [2, 3, 3]], ['iji->ij', [3, 2, 3]], ['...ii->...i', [2, 3, 3]], ['iii', [3, 3, 3]]]
    .map(([equation, shape]) => ({ op: 'Einsum', name: equation as string, feed: [noise(shape as number[])], attributes: { equation: equation as string } })),
  { op: 'Einsum', name: 'diagonal and product', feed: [noise([3, 3]), noise([3, 4], 2)], attributes: { equation: 'ii,ij->j' } },
  { op: 'LayerNormalization', name: 'all axes', feed: [x], fixed: [noise([2, 3, 4], 2), noise([2, 3, 4], 3)], attributes: { axis: 0 } },
  { op: 'Mod', name: 'of floats', feed: [noise([2, 3], 1, 9), noise([2, 3], 2, 3)], attributes: { fmod: 1 } },
]);

const four = [noise([4], 2), noise([4], 3)];
check('normalisation', [
  { op: 'BatchNormalization', opset: 9, feed: [image], fixed: [...four, noise([4], 4), positive4()], attributes: { epsilon: { f: 1e-3 }, momentum: { f: 0.9 } } },
  { op: 'BatchNormalization', opset: 15, feed: [noise([3, 4])], fixed: [...four, noise([4], 4), positive4()] },
  { op: 'InstanceNormalization', feed: [image], fixed: four },
  { op: 'LayerNormalization', feed: [x], fixed: four },
  { op: 'LayerNormalization', name: 'two axes', feed: [x], fixed: [noise([3, 4], 2)], attributes: { axis: 1, epsilon: { f: 1e-3 } } },
  { op: 'LayerNormalization', name: 'statistics', feed: [x], fixed: four, outputs: ['float32', 'float32', 'float32'] },
  { op: 'GroupNormalization', opset: 21, feed: [image], fixed: four, attributes: { num_groups: 2 } },
  { op: 'GroupNormalization', opset: 18, feed: [image], fixed: [noise([2], 2), noise([2], 3)], attributes: { num_groups: 2 } },
  { op: 'SimplifiedLayerNormalization', feed: [x], fixed: [noise([4], 2)], attributes: { axis: -1, epsilon: { f: 1e-5 } } },
  { op: 'LpNormalization', feed: [x] },
  { op: 'LpNormalization', name: 'p 1', feed: [x], attributes: { p: 1, axis: 1 } },
  { op: 'MeanVarianceNormalization', feed: [image] },
]);

function positive4(): HostTensor {
  return float32([0.5, 1, 2, 0.1]);
}

const qkv = (seed: number): HostTensor => noise([2, 3, 8], seed);
check('ONNX Runtime fusions', [
  { op: 'Gelu', feed: [x] },
  { op: 'FastGelu', feed: [x], fixed: [noise([4], 2)] },
  { op: 'BiasGelu', feed: [x], fixed: [noise([4], 2)] },
  { op: 'QuickGelu', feed: [x] },
  { op: 'QuickGelu', name: 'alpha', feed: [x], attributes: { alpha: { f: 1 } } },
  { op: 'SkipLayerNormalization', feed: [x, noise([2, 3, 4], 7)], fixed: [...four, noise([4], 9)], attributes: { epsilon: { f: 1e-5 } } },
  { op: 'SkipSimplifiedLayerNormalization', feed: [x, noise([2, 3, 4], 7)], fixed: [noise([4], 9)], attributes: { epsilon: { f: 1e-5 } } },
  { op: 'FusedMatMul', feed: [noise([2, 4, 3]), noise([2, 5, 4], 2)], attributes: { transA: 1, transB: 1, alpha: { f: 0.5 } } },
  { op: 'FusedConv', feed: [image], fixed: [noise([5, 4, 3, 3], 2), noise([5], 3)], attributes: { activation: 'Relu' } },
  { op: 'Attention', feed: [qkv(1)], fixed: [noise([8, 24], 2), noise([24], 3)], attributes: { num_heads: 2 } },
  { op: 'Attention', name: 'masked', feed: [qkv(1), ], fixed: [noise([8, 24], 2), noise([24], 3), int32([1, 1, 0, 1, 1, 1], [2, 3])], attributes: { num_heads: 2 } },
  { op: 'Attention', name: 'lengths', feed: [qkv(1)], fixed: [noise([8, 24], 2), noise([24], 3), int32([2, 3])], attributes: { num_heads: 2 } },
  { op: 'Attention', name: 'causal', feed: [qkv(1)], fixed: [noise([8, 24], 2), noise([24], 3)], attributes: { num_heads: 2, unidirectional: 1 } },
  { op: 'MultiHeadAttention', feed: [qkv(1), qkv(2), qkv(3)], fixed: [noise([24], 3)], attributes: { num_heads: 2 } },
  { op: 'MultiHeadAttention', name: 'masked', feed: [qkv(1), qkv(2), qkv(3)], fixed: [null, int32([1, 1, 0, 1, 1, 1], [2, 3]), noise([2, 2, 3, 3], 5)], attributes: { num_heads: 2, scale: { f: 0.3 } } },
  { op: 'MultiHeadAttention', name: 'causal', feed: [qkv(1), qkv(2), qkv(3)], attributes: { num_heads: 2, unidirectional: 1 } },
  { op: 'EmbedLayerNormalization', feed: [int32([1, 0, 2, 3], [2, 2]), int32([0, 1, 1, 0], [2, 2])], fixed: [noise([4, 4], 2), noise([3, 4], 3), noise([2, 4], 4), ...four, int32([1, 0, 1, 1], [2, 2])], outputs: ['float32', 'int32'] },
], 'com.microsoft');

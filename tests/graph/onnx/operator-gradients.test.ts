import { describe, expect, test } from 'vitest';
import { host } from '../../../src/graph/dtype.js';
import type { HostTensor, Shape } from '../../../src/graph/dtype.js';
import { vjp } from '../../../src/graph/grad.js';
import { importOnnx } from '../../../src/formats/onnx/import-file.js';
import { input, literal } from '../../../src/graph/tensor.js';
import type { Tensor } from '../../../src/graph/tensor.js';
import { evaluate } from '../evaluate.js';
import { apart, between, gradientErrors } from '../finite-differences.js';
import type { Case } from '../finite-differences.js';
import type { AttributeSpec } from './model-file.js';
import { bool, float32, int64, modelFile, noise } from './model-file.js';

interface Call {
  op: string;
  name?: string;
  opset?: number;
  inputs: (Shape | HostTensor)[];
  /** Inputs after those, written into the file; null for one that is left out. */
  fixed?: (HostTensor | null)[];
  attributes?: Record<string, AttributeSpec | undefined>;
  /** Which of its outputs is looked at: the first unless said. */
  output?: number;
}

const isHost = (v: Shape | HostTensor): v is HostTensor => 'data' in v;

/** The operator as a function that the importer makes. */
function imported({ op, opset = 17, inputs, fixed = [], attributes = {}, output = 0 }: Call): (...xs: Tensor[]) => Tensor {
  const names = inputs.map((_, i) => `x${i}`);
  const model = importOnnx(modelFile({
    opset,
    inputs: Object.fromEntries(inputs.map((v, i) => [`x${i}`, isHost(v) ? { shape: [...v.shape], dtype: v.dtype } : { shape: [...v] }])),
    nodes: [{ op, in: [...names, ...fixed.map((t, i) => (t ? `c${i}` : ''))], out: [...Array.from({ length: output }, () => ''), 'y'], attributes }],
    initializers: Object.fromEntries(fixed.flatMap((t, i) => (t ? [[`c${i}`, t]] : []))), outputs: ['y'],
  }));
  return (...xs) => model.call(Object.fromEntries(xs.map((x, i) => [`x${i}`, x])))['y']!;
}

const caseOf = (call: Call): Case => ({ name: `${call.op} ${call.name ?? ''}`, inputs: call.inputs, f: imported(call) });

/** Places of pixels that lie 0.4 beyond whole numbers, within a picture of 5 × 4, as a grid [1, 2, 3, 2]. */
const grid = float32([0.4, 1.4, 2.4, 0.6, 3.4, 1.6].flatMap((x, i) => [(2 * x + 1) / 5 - 1, (2 * [0.4, 1.6, 2.4][i % 3]! + 1) / 4 - 1]), [1, 2, 3, 2]);

test('gradients are those of finite differences', async () => {
  expect(await gradientErrors([
    ...['Asin', 'Acos', 'Atan', 'Sinh', 'Cosh', 'Asinh', 'Atanh'].map((op) => caseOf({ op, inputs: [between(-0.6, 0.6, [2, 3])] })),
    caseOf({ op: 'Acosh', inputs: [between(1.5, 3, [2, 3])] }),
    caseOf({ op: 'Mod', inputs: [float32([7.3, -4.4, 5.5]), float32([2.1, 3, -1.7])], attributes: { fmod: 1 } }),
    caseOf({ op: 'Pow', inputs: [between(0.5, 2, [2, 3]), [2, 3]] }),
    caseOf({ op: 'LayerNormalization', name: 'all axes', inputs: [[2, 3], [2, 3], [2, 3]], attributes: { axis: 0 } }),
    caseOf({ op: 'LRN', inputs: [[2, 5, 3]], attributes: { size: 3, alpha: { f: 2 } } }),
    ...[[23, {}], [24, { is_causal: 1 }], [23, { softcap: { f: 2 } }]].map(([opset, attributes]) => caseOf({
      op: 'Attention', opset: opset as number, inputs: [[2, 2, 3, 4], [2, 2, 3, 4], [2, 2, 3, 5]], attributes: attributes as Record<string, AttributeSpec>,
    })),
    caseOf({ op: 'Attention', name: 'grouped, masked', opset: 23, inputs: [[2, 3, 16], [2, 3, 8], [2, 3, 8]], fixed: [bool([1, 0, 1, 1, 1, 1, 0, 0, 1], [3, 3])], attributes: { q_num_heads: 4, kv_num_heads: 2 } }),
    ...[0, 1, 2, 3].map((mode) => caseOf({
      op: 'Attention', name: `scores of mode ${mode}`, opset: 23, output: 3, inputs: [[1, 2, 3, 4], [1, 1, 3, 4], [1, 1, 3, 2]], fixed: [noise([3, 3])], attributes: { softcap: { f: 2 }, qk_matmul_output_mode: mode },
    })),
    ...[0, 1].map((interleaved) => caseOf({ op: 'RotaryEmbedding', opset: 23, inputs: [[2, 2, 3, 4], [2, 3, 2], [2, 3, 2]], attributes: { interleaved } })),
    ...['ii->i', 'ii', 'iji->j'].map((equation) => caseOf({ op: 'Einsum', name: equation, inputs: [equation.startsWith('iji') ? [3, 2, 3] : [3, 3]], attributes: { equation } })),
    caseOf({ op: 'Conv', name: '3-D', inputs: [[1, 2, 3, 4, 4], [2, 2, 2, 3, 2], [2]], attributes: { pads: [1, 1, 0, 0, 1, 1], strides: [2, 1, 1] } }),
    caseOf({ op: 'MaxPool', name: '3-D', inputs: [apart([1, 2, 3, 4, 4])], attributes: { kernel_shape: [2, 2, 2] } }),
    caseOf({ op: 'AveragePool', name: '3-D', inputs: [[1, 2, 3, 4, 4]], attributes: { kernel_shape: [2, 2, 2], pads: [1, 0, 1, 0, 0, 0] } }),
    caseOf({ op: 'MaxPool', name: 'dilated', inputs: [apart([1, 2, 5, 6])], attributes: { kernel_shape: [2, 3], dilations: [3, 2], pads: [1, 1, 0, 1] } }),
    caseOf({ op: 'AveragePool', name: 'dilated', opset: 19, inputs: [[1, 2, 5, 6]], attributes: { kernel_shape: [2, 3], dilations: [3, 2], pads: [1, 1, 0, 1] } }),
    ...['zeros', 'border', 'reflection'].flatMap((padding_mode) => [
      ...['linear', 'cubic'].map((mode) => caseOf({ op: 'GridSample', name: `${mode} ${padding_mode}`, opset: 20, inputs: [[1, 2, 4, 5], grid], attributes: { mode, padding_mode } })),
      caseOf({ op: 'GridSample', name: `nearest ${padding_mode}`, opset: 20, inputs: [[1, 2, 4, 5]], fixed: [noise([1, 3, 3, 2], 3, 1.7)], attributes: { mode: 'nearest', padding_mode } }),
    ]),
    ...(['LSTM', 'GRU', 'RNN'] as const).map((op) => {
      const n = { LSTM: 4, GRU: 3, RNN: 1 }[op];
      return caseOf({ op, inputs: [[3, 2, 2], [2, 3 * n, 2], [2, 3 * n, 3], [2, 6 * n]], attributes: { hidden_size: 3, direction: 'bidirectional' } });
    }),
    caseOf({ op: 'GRU', name: 'reset after', inputs: [[3, 2, 2], [1, 9, 2], [1, 9, 3], [1, 18]], attributes: { hidden_size: 3, linear_before_reset: 1 } }),
    caseOf({ op: 'LpNormalization', inputs: [[2, 3]] }),
    caseOf({ op: 'MeanVarianceNormalization', inputs: [[2, 2, 3, 3]] }),
    caseOf({ op: 'DequantizeLinear', name: 'in blocks', opset: 21, inputs: [[3, 2]], fixed: [float32([0.3, 2, 0.5, 1], [2, 2]), float32([2, 1, 0, -1], [2, 2])], attributes: { axis: 0, block_size: 2 } }),
    caseOf({ op: 'DequantizeLinear', inputs: [[2, 3]], fixed: [float32([0.3], []), float32([2], [])] }),
  ])).toEqual([]);
});

/** Values and gradients of Σ y by each input. */
async function gradientsOf(call: Omit<Call, 'inputs'> & { inputs: HostTensor[] }): Promise<{ y: number[]; by: number[][] }> {
  const xs = call.inputs.map((v, i) => input(`x${i}`, v.shape, v.dtype));
  const y = imported(call)(...xs);
  const gs = vjp([y], xs, [literal(Array.from({ length: y.size }, () => 1), y.shape)]);
  const outputs = Object.fromEntries([['y', y] as const, ...gs.map((g, i) => [`g${i}`, g] as const)]);
  const found = await evaluate(outputs, Object.fromEntries(call.inputs.map((v, i) => [`x${i}`, v])));
  return { y: found['y']!, by: gs.map((_, i) => found[`g${i}`]!) };
}

describe('where a function is not smooth, gradients are PyTorch\'s', () => {
  test('powers of zero', async () => {
    const { by: [base, exponent] } = await gradientsOf({ op: 'Pow', inputs: [float32([0, 0, 0, 2, -2]), float32([0, 2, 3, 0, 3])] });
    expect(base).toEqual([0, 0, 0, 0, 12]);
    expect(exponent!.slice(0, 3)).toEqual([0, 0, 0]);
    expect(exponent![3]).toBeCloseTo(Math.log(2), 6);
  });

  test('norms of zero, where F.normalize gives its epsilon\'s inverse: 0', async () => {
    for (const p of [1, 2]) {
      const { y, by } = await gradientsOf({ op: 'LpNormalization', inputs: [float32([0, 0, 3, 4], [2, 2])], attributes: { p } });
      expect(y.slice(0, 2)).toEqual([0, 0]);
      expect(by[0]!.slice(0, 2)).toEqual([0, 0]);
      expect(by[0]!.every(Number.isFinite)).toBe(true);
    }
    const { by } = await gradientsOf({ op: 'ReduceL2', opset: 18, inputs: [float32([0, 0, 3, 4], [2, 2])], fixed: [int64([1])] });
    expect(by[0]!.slice(0, 2)).toEqual([0, 0]);
    expect(by[0]![2]).toBeCloseTo(0.6, 6);
    const flat = await gradientsOf({ op: 'MeanVarianceNormalization', inputs: [float32([1, 1, 1, 1], [1, 1, 2, 2])] });
    expect(flat.by[0]!.every(Number.isFinite)).toBe(true);
  });

  test('quantisation passes what is in range', async () => {
    const { by } = await gradientsOf({ op: 'QuantizeLinear', opset: 13, inputs: [float32([-3, -0.2, 0.33, 9])], fixed: [float32([0.02], []), host(Uint8Array.of(100), [], 'uint8')] });
    expect(by[0]!.map((g) => Math.round(g))).toEqual([0, 50, 50, 0]);
    // Each block by its own scale: the same number is in range in one and beyond it in the other.
    const blocks = await gradientsOf({ op: 'QuantizeLinear', opset: 21, inputs: [float32([1, 3, 3], [1, 3])], fixed: [float32([0.5, 0.01], [1, 2]), host(Uint8Array.of(0, 0), [1, 2], 'uint8')], attributes: { axis: 1, block_size: 2 } });
    expect(blocks.by[0]).toEqual([2, 2, 0]);
  });

  test('a query that sees no key gets 0, and no gradient', async () => {
    const inputs = [noise([1, 1, 2, 3]), noise([1, 1, 2, 3], 2), noise([1, 1, 2, 3], 3)];
    const { y, by } = await gradientsOf({ op: 'Attention', opset: 23, inputs, fixed: [bool([0, 0, 1, 1], [2, 2])] });
    expect(y.slice(0, 3)).toEqual([0, 0, 0]);
    expect(by[0]!.slice(0, 3)).toEqual([0, 0, 0]);
    expect(by[0]!.slice(3).some((g) => Math.abs(g) > 1e-3)).toBe(true);
  });
});

describe('dtypes that ONNX Runtime has no code for', () => {
  test('are computed as wider ones where ONNX allows them', async () => {
    const int8 = (values: number[]): HostTensor => host(Int8Array.from(values), [values.length], 'int8');
    const condition = host(Uint8Array.of(1, 0), [2], 'bool');
    const call: Call = { op: 'Where', inputs: [condition, int8([-5, 6]), int8([7, -8])] };
    const y = imported(call)(input('x0', [2], 'bool'), input('x1', [2], 'int8'), input('x2', [2], 'int8'));
    expect(y.dtype).toBe('int8');
    expect((await evaluate({ y }, { x0: condition, x1: int8([-5, 6]), x2: int8([7, -8]) })).y).toEqual([-5, -8]);
  });

  test.each<[string, Call]>([
    ['CumSum', { op: 'CumSum', inputs: [host(new Uint8Array(2), [2], 'uint8')], fixed: [int64([0], [])] }],
    ['Add', { op: 'Add', inputs: [host(new Uint8Array(2), [2], 'bool'), host(new Uint8Array(2), [2], 'bool')] }],
    ['Exp', { op: 'Exp', inputs: [host(new Int32Array(2), [2], 'int32')] }],
  ])('are refused with the node: %s', (op, call) => {
    expect(() => imported(call)).toThrow(new RegExp(`${op} "y": cannot be computed on (uint8|bool|int32)`));
  });
});

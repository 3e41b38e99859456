import { mkdtempSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { floatToHalf } from '../../../src/graph/dtype.js';
import { importOnnx } from '../../../src/formats/onnx/import-file.js';
import { add } from '../../../src/graph/ops/arithmetic.js';
import { input } from '../../../src/graph/tensor.js';
import { compile } from '../../../src/runtime/compile.js';
import { gradientErrors } from '../finite-differences.js';
import type { Case } from '../finite-differences.js';
import type { ModelSpec, NodeSpec } from './model-file.js';
import { bool, encode, expectSame, float32, int64, modelFile, modelMessage, noise, runImported, tensorMessage } from './model-file.js';

const folder = mkdtempSync(join(tmpdir(), 'attune-onnx-'));
afterAll(() => rmSync(folder, { recursive: true }));

const node = (op: string, given: string[], out: string[], attributes: NodeSpec['attributes'] = {}, domain = ''): NodeSpec => ({ op, in: given, out, attributes, domain });

describe('graphs', () => {
  test('shape arithmetic is folded, for the shape that the file is imported at', async () => {
    const m: ModelSpec = {
      inputs: { x: { shape: ['batch', 3, 'side', 'side'] } },
      nodes: [
        node('Shape', ['x'], ['shape']),
        node('Gather', ['shape', 'zero'], ['b']),
        node('Gather', ['shape', 'two'], ['h']),
        node('Mul', ['h', 'h'], ['hh']),
        node('Unsqueeze', ['b', 'first'], ['b1']),
        node('Unsqueeze', ['hh', 'first'], ['hh1']),
        node('Concat', ['b1', 'three', 'hh1'], ['to'], { axis: 0 }),
        node('Reshape', ['x', 'to'], ['flat']),
        // A mask: position <= half of them.
        node('Range', ['zero', 'hh', 'one'], ['at']),
        node('Div', ['hh', 'two'], ['half']),
        node('LessOrEqual', ['at', 'half'], ['near']),
        node('Cast', ['near'], ['mask'], { to: 1 }),
        node('Mul', ['flat', 'mask'], ['y']),
      ],
      initializers: { zero: int64([0], []), one: int64([1], []), two: int64([2], []), first: int64([0]), three: int64([3]) },
      outputs: ['y'],
    };
    const shape = [2, 3, 4, 4];
    await expectSame(m, { x: noise(shape) }, { dims: { batch: 2, side: 4 } });
    await expectSame(m, { x: noise(shape) }, { shapes: { x: shape } });
    const traced = importOnnx(modelFile(m), { shapes: { x: shape } }).call({ x: input('x', shape) })['y']!;
    expect(traced.node.inputs.map((t) => t!.node.op)).toEqual(['Reshape', '@constant']);
  });

  test('model functions are written out: attributes passed on, defaults, functions calling functions', async () => {
    const scaled = { name: 'scaled', domain: 'my', in: ['a', 'b'], out: ['c'], attributes: ['by'] };
    await expectSame(
      {
        domains: { my: 1 },
        functions: [
          { ...scaled, nodes: [node('Constant', [], ['k'], { value_float: { ref: 'by', type: 'float' } }), node('Mul', ['a', 'k'], ['ak']), node('Add', ['ak', 'b'], ['c'])] },
          { name: 'twice', domain: 'my', in: ['a'], out: ['c'], nodes: [node('scaled', ['a', 'a'], ['t'], { by: { f: 2 } }, 'my'), node('scaled', ['t', 'a'], ['c'], { by: { f: -1 } }, 'my')] },
        ],
        inputs: { x: { shape: [3] } },
        nodes: [node('twice', ['x'], ['t'], {}, 'my'), node('twice', ['t'], ['y'], {}, 'my')],
        outputs: ['y'],
      },
      { x: noise([3]) },
    );
  });

  test('the branch of a known condition is taken', async () => {
    const branch = (op: string): { nodes: NodeSpec[]; outputs: string[] } => ({ nodes: [node(op, ['x'], ['r'])], outputs: ['r'] });
    const m = (known: number): ModelSpec => ({
      inputs: { x: { shape: [2, 3] } },
      nodes: [node('Shape', ['x'], ['s']), node('Size', ['s'], ['n']), node('Equal', ['n', 'two'], ['c']), node('If', ['c'], ['y'], { then_branch: { g: branch('Exp') }, else_branch: { g: branch('Neg') } })],
      initializers: { two: int64([known], []) },
      outputs: ['y'],
    });
    await expectSame(m(2), { x: noise([2, 3]) });
    await expectSame(m(3), { x: noise([2, 3]) });
  });

  test('operators may stand in any order', async () => {
    await expectSame({ inputs: { x: { shape: [2] } }, nodes: [node('Exp', ['t'], ['y']), node('Neg', ['x'], ['t'])], outputs: ['y'] }, { x: noise([2]) });
  });

  test('an empty tensor reshaped with allowzero', async () => {
    await expectSame(
      {
        inputs: { x: { shape: [2, 3] } },
        nodes: [node('Slice', ['x', 'zero', 'zero'], ['e']), node('Reshape', ['e', 'to'], ['y'], { allowzero: 1 })],
        initializers: { zero: int64([0]), to: int64([3, 0]) },
        outputs: ['y'],
      },
      { x: noise([2, 3]) },
    );
  });

  test('values may be unused, outputs may be inputs or constants, and an initializer may also be listed as an input', async () => {
    await expectSame(
      { inputs: { x: { shape: [2] }, c: { shape: [2] } }, nodes: [node('Add', ['x', 'c'], ['y']), node('Neg', ['y'], ['unused'])], initializers: { c: noise([2], 4), d: noise([3], 5) }, outputs: ['y', 'c'] },
      { x: noise([2]) },
    );
  });
});

describe('weights', () => {
  const linear: ModelSpec = { inputs: { x: { shape: [2, 40] } }, nodes: [node('MatMul', ['x', 'w'], ['h']), node('Add', ['h', 'b'], ['y'])], initializers: { w: noise([40, 50], 2), b: noise([50], 3) }, outputs: ['y'] };

  test('large initializers become frozen inputs, the same in all calls; the prefix lets two models live in one graph', async () => {
    const file = modelFile(linear);
    const [a, b] = [importOnnx(file, { prefix: 'a/' }), importOnnx(file, { prefix: 'b/' })];
    expect([...a.weights.keys()]).toEqual(['a/w']);
    const x = input('x', [2, 40]);
    const y = [a.call({ x }), a.call({ x }), b.call({ x })].map((o) => o['y']!).reduce((s, t) => add(s, t));
    const executable = await compile({ outputs: { y } }, { weights: new Map([...a.weights, ...b.weights]), threads: 1 });
    const result = await executable.run({ x: noise([2, 40]) });
    const once = await runImported(file, { x: noise([2, 40]) });
    Array.from(once['y']!.data as Float32Array).forEach((v, i) => expect(result.y.data[i]).toBeCloseTo(3 * v, 4));
    await executable.release();
  });

  test('what is folded from large weights is a weight again', () => {
    const m = { ...linear, nodes: [node('Transpose', ['w'], ['t']), node('MatMul', ['x', 't'], ['y'])], initializers: { w: noise([50, 40], 2) } };
    expect([...importOnnx(modelFile(m)).weights].map(([k, v]) => [k, v.shape])).toEqual([['onnx/t', [40, 50]]]);
  });

  const half = (values: number[]): Uint16Array => Uint16Array.from(values, floatToHalf);
  test.each([
    ['float_data', { dataType: 1, floatData: [new Uint8Array(Float32Array.of(1.5, -2, 3).buffer)] }],
    ['float16', { dataType: 10, rawData: new Uint8Array(half([1.5, -2, 3]).buffer) }],
    ['float16 in int32_data', { dataType: 10, int32Data: [varints([...half([1.5, -2, 3])].map(BigInt))] }],
    ['bfloat16', { dataType: 16, rawData: new Uint8Array(Uint16Array.of(0x3fc0, 0xc000, 0x4040).buffer) }],
    ['float64', { dataType: 11, doubleData: [new Uint8Array(Float64Array.of(1.5, -2, 3).buffer)] }],
  ])('stored as %s', async (_name, fields) => {
    const message = modelMessage({ inputs: { x: { shape: [3] } }, nodes: [node('Add', ['x', 'c'], ['y'])], initializers: { c: float32([0, 0, 0]) }, outputs: ['y'] });
    const file = encode({ ...message, graph: { ...message.graph, initializer: [{ name: 'c', dims: [3], ...fields }] } });
    const result = await runImported(file, { x: float32([0, 0, 0]) });
    expect([...(result['y']!.data as Float32Array)]).toEqual([1.5, -2, 3]);
  });

  test('integers in int64_data, int32_data and bool', async () => {
    const message = modelMessage({ nodes: [node('Identity', ['a'], ['ya']), node('Identity', ['b'], ['yb']), node('Identity', ['c'], ['yc'])], outputs: { ya: 'int64', yb: 'int32', yc: 'bool' } });
    const initializer = [
      { name: 'a', dims: [5], dataType: 7, int64Data: [varints([1n, -1n, 2n ** 62n, -(2n ** 63n), 300n])] },
      { name: 'b', dims: [3], dataType: 6, int32Data: [varints([1n, -1n, -(2n ** 31n)])] },
      { name: 'c', dims: [2], dataType: 9, int32Data: [varints([0n, 1n])] },
    ];
    const result = await runImported(encode({ ...message, graph: { ...message.graph, initializer } }), {});
    expect(Object.values(result).map((r) => Array.from(r.data as BigInt64Array, BigInt))).toEqual([[1n, -1n, 2n ** 62n, -(2n ** 63n), 300n], [1n, -1n, -(2n ** 31n)], [0n, 1n]]);
  });

  test('a float16 model computes in float32', async () => {
    const m: ModelSpec = { inputs: { x: { shape: [2, 2], dtype: 'float16' } }, nodes: [node('Cast', ['x'], ['f'], { to: 1 }), node('Cast', ['f'], ['h'], { to: 10 }), node('MatMul', ['h', 'w'], ['y'])], initializers: { w: { data: half([1, 2, 3, 4]), shape: [2, 2], dtype: 'float16' } }, outputs: { y: 'float16' } };
    const model = importOnnx(modelFile(m));
    expect([...model.inputs, ...model.outputs].map((p) => p.dtype)).toEqual(['float32', 'float32']);
    const result = await runImported(modelFile(m), { x: float32([1, 0, 0.1, 1], [2, 2]) });
    Array.from(result['y']!.data as Float32Array).forEach((v, i) => expect(v).toBeCloseTo([1, 2, 3.1, 4.2][i]!, 6));
  });

  test('in files beside the model, also through the links of the Hugging Face cache', async () => {
    const w = noise([40, 50], 2);
    const message = modelMessage(linear);
    const entry = (key: string, value: string): object => ({ key, value });
    const external = { name: 'w', dims: [40, 50], dataType: 1, dataLocation: 1, externalData: [entry('location', 'sub/w.bin'), entry('offset', '64'), entry('length', '8000')] };
    const file = encode({ ...message, graph: { ...message.graph, initializer: [external, tensorMessage('b', noise([50], 3))] } });
    mkdirSync(join(folder, 'blobs', 'sub'), { recursive: true });
    mkdirSync(join(folder, 'snapshot', 'sub'), { recursive: true });
    writeFileSync(join(folder, 'blobs', 'm'), file);
    writeFileSync(join(folder, 'blobs', 'sub', 'w.bin'), Buffer.concat([Buffer.alloc(64), Buffer.from(w.data.buffer)]));
    symlinkSync('../blobs/m', join(folder, 'snapshot', 'model.onnx'));
    symlinkSync('../../blobs/sub/w.bin', join(folder, 'snapshot', 'sub', 'w.bin'));
    const direct = await runImported(modelFile(linear), { x: noise([2, 40]) });
    for (const path of [join(folder, 'blobs', 'm'), join(folder, 'snapshot', 'model.onnx')]) {
      const result = await runImported({ path }, { x: noise([2, 40]) });
      expect(result['y']!.data).toEqual(direct['y']!.data);
    }
  });
});

function varints(values: bigint[]): Uint8Array {
  const bytes: number[] = [];
  for (const v of values) {
    let rest = BigInt.asUintN(64, v);
    for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
    bytes.push(Number(rest));
  }
  return Uint8Array.from(bytes);
}

test('imported operators have right gradients', async () => {
  const through = (name: string, shape: number[], nodes: NodeSpec[], initializers: ModelSpec['initializers'] = {}, opset = 18): Case => {
    const model = importOnnx(modelFile({ opset, inputs: { x: { shape } }, nodes, initializers, outputs: ['y'] }), { prefix: `${name}/` });
    return { name, inputs: [shape], f: (x) => model.call({ x: x! })['y']! };
  };
  const errors = await gradientErrors([
    through('GatherND', [2, 3, 4], [node('GatherND', ['x', 'i'], ['y'], { batch_dims: 1 })], { i: int64([2, 0], [2, 1]) }),
    through('ScatterND', [2, 3, 4], [node('Neg', ['x'], ['n']), node('Slice', ['n', 'a', 'b'], ['u']), node('Squeeze', ['u', 'a'], ['v']), node('ScatterND', ['x', 'i', 'v'], ['y'])], { a: int64([0]), b: int64([1]), i: int64([0, 2, 1, 1, 1, 0], [3, 2]) }),
    through('ScatterElements', [2, 3, 4], [node('Exp', ['x'], ['n']), node('ScatterElements', ['x', 'i', 'n'], ['y'], { axis: 1 })], { i: int64([0, 2, 1, 1, 1, 0, 2, 2, 2, 1, 0, 0, 0, 2, 1, 1, 1, 0, 2, 2, 2, 1, 0, 0], [2, 3, 4]) }),
    through('ReduceProd', [5, 2], [node('ReduceProd', ['x', 'a'], ['y'])], { a: int64([0]) }),
    through('Slice backwards', [5, 7], [node('Slice', ['x', 's', 'e', 'a', 't'], ['y'])], { s: int64([-1, 5]), e: int64([-100, 0]), a: int64([0, 1]), t: int64([-1, -2]) }),
    through('Gather from the end', [3, 4], [node('Gather', ['x', 'i'], ['y'])], { i: int64([-1, 0, -2]) }),
    through('Einsum', [2, 3, 4], [node('Einsum', ['x', 'w', 'x'], ['y'], { equation: 'bij,jk,bik->bk' })], { w: noise([4, 4], 2) }),
    through('Resize', [1, 2, 5, 6], [node('Resize', ['x', '', '', 's'], ['y'], { mode: 'cubic', antialias: 1 })], { s: int64([1, 2, 3, 9]) }),
    through('LayerNormalization', [2, 3, 4], [node('LayerNormalization', ['x', 'w', 'b'], ['y'], { axis: 1 })], { w: noise([3, 4], 2), b: noise([3, 4], 3) }),
    through('Trilu', [3, 4], [node('Trilu', ['x'], ['y'])]),
    through('Where', [4], [node('Exp', ['x'], ['n']), node('Where', ['c', 'x', 'n'], ['y'])], { c: bool([1, 0, 0, 1]) }),
    through('Pow', [4], [node('Pow', ['x', 'c'], ['y'])], { c: float32([3], []) }),
    through('Mish and Celu', [7], [node('Mish', ['x'], ['m']), node('Celu', ['m'], ['y'])]),
  ]);
  expect(errors).toEqual([]);
});

import { execFileSync } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { importOnnx } from '../../../src/formats/onnx/import-file.js';
import type { ImportOptions } from '../../../src/graph/onnx/import.js';
import { OnnxError } from '../../../src/graph/onnx/error.js';
import { input } from '../../../src/graph/tensor.js';
import type { GraphSpec, ModelSpec, NodeSpec } from './model-file.js';
import { encode, float32, int64, modelFile, modelMessage, noise } from './model-file.js';

const folder = mkdtempSync(join(tmpdir(), 'attune-onnx-'));
afterAll(() => rmSync(folder, { recursive: true }));

const node = (op: string, given: string[], out: string[], attributes: NodeSpec['attributes'] = {}, domain = ''): NodeSpec => ({ op, in: given, out, attributes, domain });
const plain: ModelSpec = { inputs: { x: { shape: [2, 3] } }, nodes: [node('Add', ['x', 'c'], ['t']), node('Exp', ['t'], ['y'])], initializers: { c: noise([3]) }, outputs: ['y'] };
const exp = (more: Partial<ModelSpec>): ModelSpec => ({ ...plain, ...more });
/** One operator on x [2, 3]. */
const one = (n: NodeSpec, initializers: GraphSpec['initializers'] = {}): ModelSpec => exp({ nodes: [{ ...n, out: ['y'] }], initializers });

/** The error of importing, which must name the file. */
function errorOf(source: Uint8Array | { path: string }, options?: ImportOptions): string {
  let message: string | null = null;
  try {
    importOnnx(source, options);
  } catch (error) {
    expect(error).toBeInstanceOf(OnnxError);
    message = (error as OnnxError).message;
  }
  expect(message, 'an error').not.toBeNull();
  expect(message).toContain(source instanceof Uint8Array ? 'ONNX model' : source.path);
  return message!;
}

test('all unsupported operators are listed at once, before anything else', () => {
  const m = exp({
    inputs: { x: { shape: ['n'] } },
    nodes: [
      { op: 'StringNormalizer', name: 'text', in: ['missing'], out: ['a'] },
      { op: 'QAttention', domain: 'com.microsoft', name: 'first', in: [], out: ['b'] },
      { op: 'QAttention', domain: 'com.microsoft', in: [], out: ['unnamed'] },
      node('If', ['c'], ['d'], { then_branch: { g: { nodes: [node('SequenceAt', [], ['inner'])], outputs: ['inner'] } } }),
      node('constructor', [], ['e']),
    ],
    domains: { 'com.microsoft': 1 },
  });
  const message = errorOf(modelFile(m));
  expect(message).toContain('StringNormalizer (operator set 17): "text"');
  expect(message).toContain('com.microsoft.QAttention (operator set 1): "first", "unnamed"');
  expect(message).toContain('SequenceAt (operator set 17): "inner"');
  expect(message).toContain('constructor (operator set 17): "e"');
});

const branch = (nodes: NodeSpec[], out: string): GraphSpec => ({ nodes, outputs: [out] });
const deepFunctions = Array.from({ length: 40 }, (_, i) => ({ name: `f${i}`, domain: 'my', in: ['a'], out: ['b'], nodes: i === 39 ? [node('Neg', ['a'], ['b'])] : [node(`f${i + 1}`, ['a'], ['t'], {}, 'my'), node(`f${i + 1}`, ['t'], ['b'], {}, 'my')] }));
const huge = 2 ** 40;

const spoiled: [string, ModelSpec, RegExp][] = [
  ['a missing value', exp({ nodes: [node('Exp', ['nowhere'], ['y'])] }), /Exp "y": reads "nowhere", which nothing makes/],
  ['a cycle', exp({ nodes: [node('Exp', ['b'], ['a']), node('Exp', ['a'], ['b']), node('Add', ['b', 'x'], ['y'])] }), /Exp "a": depends on itself/],
  ['an operator reading its own result', exp({ nodes: [node('Exp', ['y'], ['y'])] }), /depends on itself/],
  ['a name made twice', exp({ nodes: [node('Exp', ['x'], ['y']), node('Neg', ['x'], ['y'])] }), /two values are named "y"/],
  ['a result named like an input', exp({ nodes: [node('Exp', ['x'], ['x'])], outputs: ['x'] }), /depends on itself|two values are named "x"/],
  ['an output that nothing makes', exp({ outputs: ['z'] }), /nothing makes output "z"/],
  ['no outputs', exp({ outputs: [] }), /has no outputs/],
  ['an old operator set', exp({ opset: 6 }), /operator set 6; 7 to 24 are supported/],
  ['a new operator set', exp({ opset: 99 }), /operator set 99/],
  ['an operator of a domain without version', one(node('Gelu', ['x'], [], {}, 'com.microsoft')), /gives no version of domain "com.microsoft"/],
  ['shapes that do not fit', one(node('Add', ['x', 'c'], []), { c: noise([4]) }), /Add "y": Add: shapes \[2, 3\] and \[4\] do not broadcast/],
  ['a missing input', one(node('Add', ['x'], [])), /input 1 is missing/],
  ['a missing attribute', one(node('Concat', ['x', 'x'], [])), /attribute axis is missing/],
  ['an unknown attribute', one(node('Exp', ['x'], [], { fast: 1 })), /attribute fast is not supported/],
  ['an attribute of a wrong type', one(node('Softmax', ['x'], [], { axis: { f: 1 } })), /attribute axis is of type 1, not int/],
  ['an input too many', one(node('Exp', ['x', 'x'], [])), /input 1 is not supported/],
  ['an output too many', exp({ nodes: [node('Exp', ['x'], ['y', 'z'])] }), /output 1 is not supported/],
  ['an axis outside', one(node('Softmax', ['x'], [], { axis: 7 })), /axis 7 is outside/],
  ['a shape that depends on data', exp({ inputs: { x: { shape: [2, 3] }, s: { shape: [1], dtype: 'int64' } }, nodes: [node('Reshape', ['x', 's'], ['y'])] }), /input 1 must not depend on the model's inputs/],
  ['a condition that depends on data', exp({ inputs: { x: { shape: [2, 3] }, c: { shape: [], dtype: 'bool' } }, nodes: [node('If', ['c'], ['y'], { then_branch: { g: branch([node('Exp', ['x'], ['r'])], 'r') } })], initializers: {} }), /must not depend/],
  ['an absurd reshape', one(node('Reshape', ['x', 'c'], []), { c: int64([huge, huge]) }), /cannot become/],
  ['two open dimensions', one(node('Reshape', ['x', 'c'], []), { c: int64([-1, -1]) }), /impossible shape/],
  ['a tensor of 2⁸⁰ elements', one(node('Expand', ['x', 'c'], []), { c: int64([huge, huge, 2, 3]) }), /too large|impossible shape/],
  ['tiles without end', one(node('Tile', ['x', 'c'], []), { c: int64([huge, huge]) }), /too large|impossible shape/],
  ['a range without end', exp({ nodes: [node('Range', ['a', 'b', 'c'], ['r']), node('Add', ['x', 'r'], ['y'])], initializers: { a: float32([0], []), b: float32([1e30], []), c: float32([1], []) } }), /needs a constant of/],
  ['a range with step 0', exp({ nodes: [node('Range', ['a', 'b', 'c'], ['r']), node('Add', ['x', 'r'], ['y'])], initializers: { a: float32([0], []), b: float32([1], []), c: float32([0], []) } }), /needs a constant of/],
  ['a giant one-hot', one(node('OneHot', ['i', 'd', 'v'], []), { i: int64([1]), d: int64([huge], []), v: float32([0, 1]) }), /needs a constant of/],
  ['a giant split', one(node('Split', ['x'], [], { num_outputs: huge })), /cannot split|num_outputs/],
  ['a giant kernel', exp({ inputs: { x: { shape: [1, 1, 4, 4] } }, nodes: [node('MaxPool', ['x'], ['y'], { kernel_shape: [huge, huge] })], initializers: {} }), /impossible window/],
  ['giant padding', one(node('Pad', ['x', 'p'], []), { p: int64([huge, huge, huge, huge]) }), /too large/],
  ['a giant image', exp({ inputs: { x: { shape: [1, 1, 4, 4] } }, nodes: [node('Resize', ['x', '', '', 's'], ['y'], { mode: 'linear' })], initializers: { s: int64([1, 1, huge, huge]) } }), /needs a constant of/],
  ['a giant triangle', exp({ inputs: { x: { shape: [70000, 70000] } }, nodes: [node('Trilu', ['x'], ['y'])] }), /needs a constant of 4900000000/],
  ['an unknown way to resize', exp({ inputs: { x: { shape: [1, 1, 4, 4] } }, nodes: [node('Resize', ['x', '', '', 's'], ['y'], { coordinate_transformation_mode: 'constructor' })], initializers: { s: int64([1, 1, 8, 8]) } }), /coordinate transformation "constructor" is not supported/],
  ['many large triangles', exp({ inputs: { x: { shape: [2000, 2000] } }, nodes: Array.from({ length: 9 }, (_, i) => node('Trilu', [i ? `t${i - 1}` : 'x'], [i < 8 ? `t${i}` : 'y'])), initializers: {} }), /Trilu "t4": needs a constant/],
  ['a giant transposed convolution', exp({ inputs: { x: { shape: [1, 1, 4, 4] } }, nodes: [node('ConvTranspose', ['x', 'w'], ['y'], { strides: [65536, 65536], dilations: [65536, 65536] })], initializers: { w: noise([1, 1, 3, 3]) } }), /too large/],
  ['indices outside', exp({ nodes: [node('Shape', ['x'], ['s']), node('Gather', ['s', 'i'], ['g']), node('Add', ['g', 'g'], ['y'])], initializers: { i: int64([9]) } }), /Gather "g": index 9 is outside axis 0 of int64\[2\]/],
  ['fixed indices outside an input', exp({ nodes: [node('Gather', ['x', 'i'], ['y'], { axis: 1 })], initializers: { i: int64([2, -4]) } }), /Gather "y": index -4 is outside axis 1 of float32\[2, 3\]/],
  ['fixed tuples outside an input', exp({ nodes: [node('GatherND', ['x', 'i'], ['y'])], initializers: { i: int64([1, 3], [1, 2]) } }), /GatherND "y": index 3 is outside axis 1/],
  ['an expansion of known numbers', exp({ nodes: [node('Expand', ['one', 'big'], ['e']), node('ReduceMean', ['e'], ['m']), node('Add', ['x', 'm'], ['y'])], initializers: { one: float32([1]), big: int64([2 ** 20, 2 ** 8]) } }), /Expand "e": makes \[1048576, 256\] of known numbers alone: more than a file may bring/],
  ['an expansion of an input', exp({ nodes: [node('Expand', ['x', 'big'], ['e']), node('ReduceMean', ['e'], ['y'])], initializers: { big: int64([2 ** 30, 2, 3]) } }), /Expand "e": its result \[1073741824, 2, 3\] is too large/],
  ['a division by zero', exp({ nodes: [node('Shape', ['x'], ['s']), node('Div', ['s', 'z'], ['y'])], initializers: { z: int64([0]) } }), /division of integers by zero/],
  ['a step of 0', one(node('Slice', ['x', 'z', 'z', 'z', 'z'], []), { z: int64([0]) }), /a step is 0/],
  ['recursion', exp({ domains: { my: 1 }, functions: [{ name: 'f', domain: 'my', in: ['a'], out: ['b'], nodes: [node('f', ['a'], ['b'], {}, 'my')] }], nodes: [node('f', ['x'], ['y'], {}, 'my')] }), /deep in each other/],
  ['functions that call each other 2⁴⁰ times', exp({ domains: { my: 1 }, functions: deepFunctions, nodes: [node('f0', ['x'], ['y'], {}, 'my')] }), /deep in each other/],
  ['functions that call each other 2²⁵ times', exp({ domains: { my: 1 }, functions: deepFunctions, nodes: [node('f14', ['x'], ['y'], {}, 'my')] }), /more than 131072 operators/],
  ['a function that does not make its output', exp({ domains: { my: 1 }, functions: [{ name: 'f', domain: 'my', in: ['a'], out: ['b'], nodes: [] }], nodes: [node('f', ['x'], ['y'], {}, 'my')] }), /does not make its output "b"/],
  ['an open shape', exp({ inputs: { x: { shape: ['n', 3] } } }), /x \[n, 3\]. Give the options \{ dims: \{ "n": … \} \}/],
];

describe('models that cannot be', () => {
  test.each(spoiled)('%s', (_name, m, message) => {
    expect(errorOf(modelFile(m))).toMatch(message);
  });

  test('constants that grow without end are not folded', () => {
    const nodes = [node('Expand', ['one', 'big'], ['a0']), ...Array.from({ length: 200 }, (_, i) => node('Add', [`a${i}`, 'one'], [`a${i + 1}`])), node('ReduceSum', ['a200'], ['s']), node('Add', ['x', 's'], ['y'])];
    const model = importOnnx(modelFile(exp({ nodes, initializers: { one: float32([1]), big: int64([2 ** 20]) } })));
    expect(model.outputs).toEqual([{ name: 'y', shape: [2, 3], dtype: 'float32' }]);
  });

  test('options that do not fit', () => {
    const file = modelFile(exp({ inputs: { x: { shape: ['n', 3] } } }));
    expect(errorOf(file, { dims: { m: 2 } })).toMatch(/has no dimension m \(option dims\); its open dimensions: n/);
    expect(errorOf(file, { shapes: { z: [2, 3] } })).toMatch(/has no input z/);
    expect(errorOf(file, { shapes: { x: [2, 4] } })).toMatch(/has shape \[n, 3\], to which \[2, 4\]/);
    expect(errorOf(file, { shapes: { x: [-2, 3] } })).toMatch(/impossible shape/);
    expect(errorOf(file, { shapes: { x: [2, 3] }, dims: { n: 5 } })).toMatch(/n is given as 5 and as 2/);
  });

  test('calls that do not fit say what fits', () => {
    const model = importOnnx(modelFile(plain));
    expect(() => model.call({})).toThrow(/input x was not given/);
    expect(() => model.call({ x: input('x', [2, 3]), z: input('z', [1]) })).toThrow(/has no input z; its inputs: x/);
    expect(() => model.call({ x: input('x', [2, 4]) })).toThrow(/input x takes float32\[2, 3\], not float32\[2, 4\].*bad-files/);
  });
});

describe('tensors that cannot be', () => {
  const withTensor = (fields: object): Uint8Array => {
    const message = modelMessage(plain);
    return encode({ ...message, graph: { ...message.graph, initializer: [{ name: 'c', dims: [3], dataType: 1, ...fields }] } });
  };
  const bytes = (n: number): Uint8Array => new Uint8Array(n);
  test.each([
    ['too few bytes', { rawData: bytes(11) }, /tensor "c" float32\[3\] takes 12 bytes of data, but has 11/],
    ['too many bytes', { rawData: bytes(16) }, /has 16/],
    ['no data', {}, /has 0/],
    ['too few numbers', { dataType: 7, int64Data: [bytes(2)] }, /has 2 packed/],
    ['too many numbers', { dataType: 6, int32Data: [bytes(4)] }, /another number of values/],
    ['an unknown type', { dataType: 77, rawData: bytes(12) }, /number 77, which ONNX does not define/],
    ['text', { dataType: 8, rawData: bytes(12) }, /type string, which is not supported/],
    ['a negative dimension', { dims: [-3], rawData: bytes(12) }, /dimension of -3/],
    ['an absurd dimension', { dims: ['9223372036854775807'], rawData: bytes(12) }, /dimension of 9/],
    ['absurd dimensions', { dims: [2 ** 30, 2 ** 30], rawData: bytes(12) }, /more than \d+ elements/],
    ['absurd dimensions beside a zero', { dims: [0, 2 ** 30, 2 ** 30], rawData: bytes(12) }, /more than \d+ elements/],
    ['more than the memory', { dims: [2 ** 34], rawData: bytes(12) }, /above \d+ bytes of tensors/],
    ['very many dimensions', { dims: Array.from({ length: 99 }, () => 1), rawData: bytes(4) }, /has 99 dimensions/],
    ['segments', { segment: { begin: 0, end: 1 }, rawData: bytes(12) }, /segments/],
  ])('%s', (_name, fields, message) => {
    expect(errorOf(withTensor(fields))).toMatch(message);
  });

  const external = (entries: Record<string, string>): Uint8Array =>
    withTensor({ dataLocation: 1, externalData: Object.entries(entries).map(([key, value]) => ({ key, value })) });
  const model = join(folder, 'model.onnx');
  mkdirSync(join(folder, 'sub'));
  writeFileSync(join(folder, 'data.bin'), bytes(20));
  const outside = mkdtempSync(join(tmpdir(), 'attune-onnx-outside-'));
  afterAll(() => rmSync(outside, { recursive: true }));
  writeFileSync(join(outside, 'data.bin'), bytes(20));
  symlinkSync(join(outside, 'data.bin'), join(folder, 'link.bin'));
  symlinkSync(outside, join(folder, 'linked'));
  execFileSync('mkfifo', [join(folder, 'pipe')]);

  test.each([
    ['an absolute path', { location: join(outside, 'data.bin') }, /not inside the folder/],
    ['a Windows path', { location: 'C:\\data.bin' }, /not inside the folder/],
    ['a way out', { location: `../${outside.split('/').at(-1)}/data.bin` }, /not inside the folder/],
    ['a way out and back', { location: 'sub/../data.bin' }, /not inside the folder/],
    ['a link to a file outside', { location: 'link.bin' }, /leads outside the folder/],
    ['a link to a folder outside', { location: 'linked/data.bin' }, /leads outside the folder/],
    ['a missing file', { location: 'none.bin' }, /missing or unreadable \(ENOENT\)/],
    ['a folder', { location: 'sub' }, /not a file/],
    ['the folder itself', { location: '.' }, /not a file/],
    ['a pipe', { location: 'pipe' }, /not a file/],
    ['no name', {}, /not a file name/],
    ['a NUL in the name', { location: 'data.bin\0' }, /not a file name/],
    ['an offset past the end', { location: 'data.bin', offset: '9' }, /needs bytes 9–21 of "data.bin", which has only 20/],
    ['an absurd offset', { location: 'data.bin', offset: '999999999999999' }, /has only 20/],
    ['a negative offset', { location: 'data.bin', offset: '-4' }, /bad offset: "-4"/],
    ['an overflowing offset', { location: 'data.bin', offset: '99999999999999999999' }, /bad offset/],
    ['a length that is not the shape\'s', { location: 'data.bin', length: '16' }, /has 16 \(external\)/],
  ])('external data: %s', (_name, entries, message) => {
    writeFileSync(model, external(entries));
    expect(errorOf({ path: model })).toMatch(message);
  });

  test('external data without a path', () => {
    expect(errorOf(external({ location: 'data.bin' }))).toMatch(/import the model by its path/);
  });

  test('external data that many tensors share to fill the memory', () => {
    const message = modelMessage(plain);
    const entry = [{ key: 'location', value: 'data.bin' }];
    const initializer = Array.from({ length: 9 }, (_, i) => ({ name: i ? `c${i}` : 'c', dims: [3], dataType: 1, dataLocation: 1, externalData: entry }));
    writeFileSync(model, encode({ ...message, graph: { ...message.graph, initializer } }));
    expect(errorOf({ path: model })).toMatch(/overlapping/);
  });

  test('files that are none', () => {
    expect(errorOf({ path: join(folder, 'none.onnx') })).toMatch(/cannot be read \(ENOENT\)/);
    expect(errorOf({ path: folder })).toMatch(/not a file/);
    expect(errorOf(new Uint8Array())).toMatch(/not an ONNX model/);
    expect(errorOf(Buffer.from('<html>not found</html>'))).toMatch(/not a readable ONNX model/);
  });
});

describe('bytes that cannot be', () => {
  const fixture = readFileSync(new URL('../../fixtures/onnx_resnet_ts09.onnx', import.meta.url));
  const options = { shapes: { pixel_values: [1, 3, 24, 24] } };
  /** Imports; anything but success and an OnnxError fails. */
  const attempt = (bytes: Uint8Array): boolean => {
    try {
      importOnnx(bytes, options);
      return true;
    } catch (error) {
      if (!(error instanceof OnnxError)) throw error;
      return false;
    }
  };
  /** A generator with a fixed start (Park and Miller's). */
  const random = (seed: number) => (below: number): number => (seed = (seed * 48271) % 2147483647) % below;

  test('cut short anywhere', () => {
    let accepted = 0;
    for (let n = 0; n < fixture.length; n += 23) if (attempt(fixture.subarray(0, n))) accepted++;
    // What is left after the graph is the operator set, without which nothing works.
    expect(accepted).toBe(0);
  });

  test('with bytes changed', () => {
    const next = random(7);
    for (let i = 0; i < 300; i++) {
      const bytes = Uint8Array.from(fixture);
      for (let k = 0; k <= next(4); k++) bytes[next(bytes.length)] = next(256);
      attempt(bytes);
    }
  });

  test('random', () => {
    const next = random(3);
    for (let i = 0; i < 200; i++) expect(attempt(Uint8Array.from({ length: next(400) }, () => next(256)))).toBe(false);
  });

  test('millions of empty messages', () => {
    // Field 7 (graph) holding field 1 (node) of length 0, over and over.
    const inner = new Uint8Array(2 ** 25);
    for (let i = 0; i < inner.length; i += 2) inner[i] = 0x0a;
    const size = [0, 7, 14, 21].map((s) => ((inner.length >> s) & 127) | (s < 21 ? 128 : 0));
    expect(errorOf(Buffer.concat([Buffer.from([0x3a, ...size]), inner]))).toMatch(/more than \d+ fields/);
  });

  test('messages nested without end', () => {
    // node { attribute { g { node { ... } } } }
    let inner: Buffer = Buffer.alloc(0);
    const wrap = (field: number, body: Buffer): Buffer => {
      const size: number[] = [];
      for (let n = body.length; ; n >>= 7) {
        size.push(n > 127 ? (n & 127) | 128 : n);
        if (n <= 127) break;
      }
      return Buffer.concat([Buffer.from([(field << 3) | 2, ...size]), body]);
    };
    for (let i = 0; i < 300; i++) inner = wrap(1, wrap(5, wrap(6, inner)));
    expect(errorOf(wrap(7, inner))).toMatch(/max depth exceeded/);
  });
});

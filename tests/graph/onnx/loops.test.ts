import { describe, expect, test } from 'vitest';
import { importOnnx } from '../../../src/formats/onnx/import-file.js';
import type { GraphSpec, ModelSpec } from './model-file.js';
import { bool, expectSame, int64, modelFile, noise } from './model-file.js';

/** s ← s·x + round; lists s and the round. */
const body: GraphSpec = {
  inputs: { round: { shape: [], dtype: 'int64' }, go: { shape: [], dtype: 'bool' }, s: { shape: [2, 3] } },
  nodes: [
    { op: 'Identity', in: ['go'], out: ['more'] },
    { op: 'Cast', in: ['round'], out: ['r'], attributes: { to: 1 } },
    { op: 'Mul', in: ['s', 'x'], out: ['p'] },
    { op: 'Add', in: ['p', 'r'], out: ['s2'] },
    { op: 'ReduceSum', in: ['s2'], out: ['listed'], attributes: { keepdims: 0 } },
  ],
  outputs: { more: 'bool', s2: 'float32', listed: 'float32' },
};
const x = noise([2, 3]);
const loop = (extra: Partial<ModelSpec> = {}, inputs = ['count', 'yes', 'x'], g = body): ModelSpec => ({
  inputs: { x: { shape: [2, 3] } },
  nodes: [{ op: 'Loop', name: 'around', in: inputs, out: ['last', 'list'], attributes: { body: { g } } }],
  initializers: { count: int64([4], []), yes: bool([1], []) }, outputs: ['last', 'list'], ...extra,
});

describe('loops', () => {
  test('a counted loop, with and without a condition', async () => {
    await expectSame(loop(), { x });
    await expectSame(loop({}, ['count', '', 'x']), { x });
  });

  test('a condition that ends it', async () => {
    const until: GraphSpec = {
      ...body,
      nodes: [...body.nodes.slice(1), { op: 'Less', in: ['round', 'two'], out: ['more'] }],
      initializers: { two: int64([2], []) },
    };
    await expectSame(loop({}, ['', 'yes', 'x'], until), { x });
  });

  test('what the rounds make is known where it does not depend on inputs', async () => {
    const sizes: GraphSpec = {
      inputs: { round: { shape: [], dtype: 'int64' }, go: { shape: [], dtype: 'bool' } },
      nodes: [{ op: 'Identity', in: ['go'], out: ['more'] }, { op: 'Add', in: ['round', 'one'], out: ['size'] }],
      initializers: { one: int64([1], []) }, outputs: { more: 'bool', size: 'int64' },
    };
    await expectSame({
      inputs: { x: { shape: [6] } },
      nodes: [{ op: 'Loop', in: ['count', 'yes'], out: ['shape'], attributes: { body: { g: sizes } } }, { op: 'Reshape', in: ['x', 'shape'], out: ['y'] }],
      initializers: { count: int64([3], []), yes: bool([1], []) }, outputs: ['y'],
    }, { x: noise([6]) });
  });

  test('Scan, forwards and backwards, over another axis', async () => {
    const sum: GraphSpec = {
      inputs: { s: { shape: [2] }, row: { shape: [2] } },
      nodes: [{ op: 'Add', in: ['s', 'row'], out: ['s2'] }, { op: 'Mul', in: ['s2', 'row'], out: ['seen'] }],
      outputs: ['s2', 'seen'],
    };
    for (const attributes of [{ scan_input_axes: [1] }, { scan_input_axes: [-1], scan_input_directions: [1], scan_output_axes: [1], scan_output_directions: [1] }]) {
      await expectSame({
        inputs: { s: { shape: [2] }, x: { shape: [2, 5] } },
        nodes: [{ op: 'Scan', in: ['s', 'x'], out: ['last', 'list'], attributes: { body: { g: sum }, num_scan_inputs: 1, ...attributes } }],
        outputs: ['last', 'list'],
      }, { s: noise([2], 3), x: noise([2, 5]) });
    }
  });

  test('a loop whose rounds depend on the inputs, or are too many, is refused by name', () => {
    const dependent: GraphSpec = {
      ...body, nodes: [...body.nodes.slice(1), { op: 'Less', in: ['listed', 'listed'], out: ['more'] }],
    };
    expect(() => importOnnx(modelFile(loop({}, ['count', 'yes', 'x'], dependent)))).toThrow('Loop "around": its condition depends on the inputs');
    const endless = loop({ initializers: { count: int64([2 ** 40], []), yes: bool([1], []) } });
    expect(() => importOnnx(modelFile(endless))).toThrow('Loop "around": takes 4097 rounds; 4096 are supported');
  });
});

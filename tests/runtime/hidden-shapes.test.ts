import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { exportOnnx } from '../../src/graph/onnx/export.js';
import { ModelProto } from '../../src/graph/onnx/schema.js';
import { mul } from '../../src/graph/ops/arithmetic.js';
import { expand, reshape, transpose } from '../../src/graph/ops/layout.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';
import { HIDING, hideShapes } from '../../src/runtime/hidden-shapes.js';

const x = input('x', [2, 3, 4]);
const y = mul(reshape(x, [6, 4]), expand(input('w', [4]), [6, 4]));
const outputs = { y: transpose(reshape(y, [3, 2, 4]), [2, 0, 1]), total: reshape(sum(y, { keepDims: true }), []) };

interface File {
  graph: {
    node: { opType: string; input: string[] }[];
    initializer: { name: string }[];
    input: { name: string; type: { tensorType: { shape?: { dim: unknown[] } | null } } }[];
  };
}

test('no shape can be known from the file', () => {
  const { graph } = ModelProto.decode(exportOnnx(hideShapes({ outputs }))) as unknown as File;
  const constants = new Set(graph.initializer.map(({ name }) => name));
  const shaped = graph.node.filter(({ opType, input: [, shape] }) => ['Reshape', 'Expand'].includes(opType) && constants.has(shape!));
  // A scalar takes no memory worth hiding.
  expect(shaped).toHaveLength(1);
  expect(graph.node.filter(({ opType }) => opType === 'Reshape').length).toBeGreaterThan(2);
  for (const { name, type } of graph.input) expect(type.tensorType.shape == null).toBe(!HIDING.has(name));
});

test('equal shapes are hidden once', () => {
  const { graph } = ModelProto.decode(exportOnnx(hideShapes({ outputs: { a: reshape(x, [6, 4]), b: reshape(mul(x, 2), [6, 4]) } }))) as unknown as File;
  expect(graph.node.filter(({ opType }) => opType === 'Add')).toHaveLength(1);
});

test('the numbers are the same', async () => {
  const executable = await compile({ outputs }, { hideShapes: true });
  const data = Float32Array.from({ length: 24 }, (_, i) => i);
  const results = await executable.run({ x: host(data, [2, 3, 4]), w: host(Float32Array.of(1, 2, 3, 4), [4]) });
  expect([...results.y.data].slice(0, 6)).toEqual([0, 4, 8, 12, 16, 20]);
  expect(results.y.shape).toEqual([4, 3, 2]);
  expect(results.total.data[0]).toBe(data.reduce((total, v, i) => total + v * ((i % 4) + 1), 0));
  await executable.release();
});

test('what is fed is still checked', async () => {
  const executable = await compile({ outputs }, { hideShapes: true });
  await expect(executable.run({ x: host(new Float32Array(24), [4, 6]), w: host(new Float32Array(4), [4]) })).rejects.toThrow(/input x takes/);
  await executable.release();
});

import { expect, test } from 'vitest';
import { exportOnnx } from '../../../src/graph/onnx/export.js';
import { mul } from '../../../src/graph/ops/arithmetic.js';
import { input } from '../../../src/graph/tensor.js';

test('an output with an input\'s name, and two inputs of one name, are refused when exporting', () => {
  const x = input('x', [2]);
  expect(() => exportOnnx({ outputs: { x: mul(x, 2) } })).toThrow(/"x" is also an input/);
  expect(() => exportOnnx({ outputs: { y: mul(x, input('x', [2])) } })).toThrow(/two inputs are named x/);
});

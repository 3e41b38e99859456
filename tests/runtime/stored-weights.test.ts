import { expect, test } from 'vitest';
import { fromFloat32, host, scalarHost, sizeOf, toFloat32 } from '../../src/graph/dtype.js';
import type { HostTensor, StoredType } from '../../src/graph/dtype.js';
import { checkpoint, vjp } from '../../src/graph/grad.js';
import { graphInputs, schedule } from '../../src/graph/onnx/export.js';
import { add, mul } from '../../src/graph/ops/arithmetic.js';
import { embedding } from '../../src/graph/ops/gather.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { conv } from '../../src/nn/conv.js';
import { linear } from '../../src/nn/linear.js';
import { FLOAT32 } from '../../src/nn/precision.js';
import { frozenWeights, leave, rootScope } from '../../src/nn/scope.js';
import { normal } from '../../src/random/random.js';
import { compile } from '../../src/runtime/compile.js';
import type { CompileOptions } from '../../src/runtime/compile.js';

const numbers = (shape: readonly number[], step: number): Float32Array => normal({ seed: 7, stream: 'stored', step }, 0, sizeOf(shape));

/** Two convolutions in a checkpoint, a product and a table, with the gradient by the input. */
function network(compute: 'float32' | 'float16' = 'float32'): Record<'y' | 'g', Tensor> {
  const scope = rootScope(frozenWeights(), [], '', { ...FLOAT32, compute });
  const x = input('x', [1, 16, 8, 8]);
  const h = checkpoint((t) => [conv(scope.at('b'), conv(scope.at('a'), t, 16), 16, { stride: 2 })], [x])[0]!; // [1, 16, 4, 4]
  const rows = embedding(input('ids', [1, 16, 4], 'int64'), scope.weight('table', [50, 4])); // [1, 16, 4, 4]
  const y = leave(mul(linear(scope.at('c'), h, 4), add(rows, 1)));
  return { y, g: vjp([y], [x], [input('seed', y.shape)])[0]! };
}

const FEEDS: Record<string, HostTensor> = {
  x: host(numbers([1, 16, 8, 8], 0), [1, 16, 8, 8]),
  ids: host(BigInt64Array.from({ length: 64 }, (_, i) => BigInt((i * 7) % 50)), [1, 16, 4], 'int64'),
  seed: host(numbers([1, 16, 4, 4], 1), [1, 16, 4, 4]),
  'loss scale': scalarHost(1),
};

/** Weights whose numbers half precision has, stored as asked; biases stay float32. */
function weights(outputs: Record<string, Tensor>, half: 'float16' | 'bfloat16', stored: StoredType): Map<string, HostTensor> {
  const frozen = [...graphInputs({ outputs })].filter(([, t]) => t.node.frozen);
  return new Map(frozen.map(([name, { shape }], i) => {
    const exact = toFloat32(fromFloat32(numbers(shape, i + 2), shape, half));
    return [name, shape.length < 2 ? host(exact, shape) : fromFloat32(exact, shape, stored)];
  }));
}

async function run(outputs: Record<'y' | 'g', Tensor>, values: Map<string, HostTensor>, options: CompileOptions = {}) {
  const executable = await compile({ outputs }, { threads: 1, weights: values, ...options });
  try {
    return { ...(await executable.run(FEEDS)), nodes: schedule(Object.values(executable.compiled.outputs)) };
  } finally {
    await executable.release();
  }
}

test.each([['float16', false], ['float16', true], ['bfloat16', false], ['bfloat16', true]] as const)(
  'weights stored in %s (shapes hidden: %s) give the bits of the same numbers in float32', async (half, hideShapes) => {
    const outputs = network();
    // Hoisted weights are convolved with by other kernels, which round otherwise.
    const exact = await run(outputs, weights(outputs, half, 'float32'), { hideShapes, hoist: false });
    const stored = await run(outputs, weights(outputs, half, half), { hideShapes });
    expect(stored.y.data).toEqual(exact.y.data);
    expect(stored.g.data).toEqual(exact.g.data);
  });

test('each use widens for itself, after its other input: nothing wide is kept', async () => {
  const outputs = network();
  const { nodes } = await run(outputs, weights(outputs, 'float16', 'float16'));
  const widened = nodes.filter(({ op, inputs }) => op === 'Cast' && inputs[0]!.dtype === 'float16');
  const depends = (t: Tensor, name: string): boolean => schedule([t]).some((n) => n.name === name);
  const of = (name: string): number => widened.filter((n) => n.inputs[0]!.node.inputs[0]!.node.name === name).length;
  expect(['a', 'b', 'c'].map((layer) => of(`${layer}.weight`))).toEqual([2, 2, 2]); // forward, gradient
  expect(widened.every((n) => ['x', 'seed', 'ids'].some((name) => depends(n.outputs[0]!, name)))).toBe(true);
  // Of a table the rows that are read.
  expect(nodes.filter(({ op }) => op === 'Gather').map(({ inputs }) => inputs[0]!.dtype)).toEqual(['float16']);
});

test('what is computed as it is stored is not widened', async () => {
  const outputs = network('float16');
  const values = weights(outputs, 'float16', 'float16');
  const { nodes, y } = await run(outputs, values);
  const { y: wide } = await run(outputs, weights(outputs, 'float16', 'float32'));
  const fed = nodes.filter(({ op, name }) => op === '@input' && values.get(name!)?.dtype === 'float16').flatMap((n) => n.outputs);
  expect(nodes.filter(({ op, inputs }) => op === 'Cast' && fed.includes(inputs[0]!))).toEqual([]);
  expect(y.data).toEqual(wide.data);
});

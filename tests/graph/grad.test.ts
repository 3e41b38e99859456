import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { grad, stopGradient, straightThrough, valueAndGrad, vjp } from '../../src/graph/grad.js';
import { schedule } from '../../src/graph/onnx/export.js';
import { add, cast, exp, mul, square } from '../../src/graph/ops/arithmetic.js';
import { silu } from '../../src/graph/ops/activation.js';
import { conv2d } from '../../src/graph/ops/conv.js';
import { concat, reshape, split, transpose } from '../../src/graph/ops/layout.js';
import { linear } from '../../src/graph/ops/matmul.js';
import { groupNorm } from '../../src/graph/ops/norm.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { roundSmooth, roundStraightThrough } from '../../src/graph/ops/rounding.js';
import { input, literal, weight } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { evaluate } from './evaluate.js';

const vector = (...values: number[]) => host(Float32Array.from(values), [values.length]);
const x = input('x', [3]);
const y = input('y', [3]);
const feeds = { x: vector(1, 2, 3), y: vector(-1, 0.5, 4) };

describe('vjp', () => {
  test('several outputs and inputs; what the outputs do not use gets zeros', async () => {
    const unused = input('unused', [2, 2]);
    const by = [x, y, unused, cast(x, 'int32')];
    const [dx, dy, du, dk] = vjp([mul(x, y), square(x)], by, [literal([1, 1, 1]), literal([0, 10, 0])]);
    expect(await evaluate({ dx: dx!, dy: dy!, du: du!, dk: dk! }, feeds)).toEqual({
      dx: [-1, 0.5 + 40, 4], dy: [1, 2, 3], du: [0, 0, 0, 0], dk: [0, 0, 0],
    });
  });

  test('by tensors in the middle, and by one that leads to another', async () => {
    const middle = reshape(x, [3, 1]);
    const loss = sum(square(reshape(middle, [1, 3])));
    const [dx, dm] = grad(loss, [x, middle]);
    expect(await evaluate({ dx: dx!, dm: dm! }, feeds)).toEqual({ dx: [2, 4, 6], dm: [2, 4, 6] });
  });

  test('an output is its own input', async () => {
    const [dx] = vjp([x, mul(x, 2)], [x], [literal([1, 1, 1]), literal([1, 2, 3])]);
    expect(await evaluate({ dx: dx! }, feeds)).toEqual({ dx: [3, 5, 7] });
  });

  test('a tensor used many times', async () => {
    const [a, b] = split(x, [1, 2], 0) as [Tensor, Tensor];
    const [dx] = grad(sum(mul(concat([b, a], 0), x)), [x]); // x₁x₀ + x₂x₁ + x₀x₂
    expect(await evaluate({ dx: dx! }, feeds)).toEqual({ dx: [5, 4, 3] });
  });

  test('a deep graph does not exhaust the stack', () => {
    let deep = x;
    for (let i = 0; i < 12_000; i++) deep = mul(deep, 1.0001);
    expect(grad(sum(deep), [x])[0]!.shape).toEqual([3]);
  });
});

test('valueAndGrad', async () => {
  const { value, grads } = valueAndGrad((a, b) => sum(mul(square(a), b)), [x, y]);
  const found = await evaluate({ value, dx: grads[0]!, dy: grads[1]! }, feeds);
  expect(found).toEqual({ value: [37], dx: [-2, 2, 24], dy: [1, 4, 9] });
});

test('stopGradient and straightThrough', async () => {
  const stopped = grad(sum(mul(x, stopGradient(x))), [x])[0]!;
  const through = straightThrough(exp(y), mul(x, 5));
  const [dx, dy] = grad(sum(mul(through, through)), [x, y]);
  const found = await evaluate({ stopped, through, dx: dx!, dy: dy! }, { x: vector(1, 2, 3), y: vector(0, 0, 0) });
  expect(found).toEqual({ stopped: [1, 2, 3], through: [1, 1, 1], dx: [10, 10, 10], dy: [0, 0, 0] });
});

test('rounding: half to even, with the straight-through or the smooth gradient', async () => {
  const z = input('z', [4]);
  const [hard, soft] = [roundStraightThrough(z), roundSmooth(z)];
  const dHard = grad(sum(mul(hard, literal([1, 2, 3, 4]))), [z])[0]!;
  const dSoft = grad(sum(soft), [z])[0]!;
  const ddSoft = grad(sum(dSoft), [z])[0]!;
  const found = await evaluate({ hard, dHard, soft, dSoft, ddSoft }, { z: vector(-1.5, 0.25, 2, 2.5) });
  // d = z − round(z): 0.5, 0.25, 0, 0.5; round + d³, 3d², 6d.
  expect(found).toEqual({
    hard: [-2, 0, 2, 2], dHard: [1, 2, 3, 4],
    soft: [-1.875, 0.015625, 2, 2.125], dSoft: [0.75, 0.1875, 0, 0.75], ddSoft: [3, 1.5, 0, 3],
  });
});

describe('nothing is computed for what needs no gradient', () => {
  const image = input('image', [1, 8, 6, 6]);
  const gain = weight('gain', [8]);
  const block = (t: Tensor): Tensor => {
    const h = conv2d(silu(groupNorm(t, 2, gain, gain)), weight('kernel', [8, 8, 3, 3]), gain, { padding: 1 });
    return linear(transpose(h, [0, 2, 3, 1]), weight('matrix', [4, 8]), weight('bias', [4]));
  };
  const operators = (tensors: readonly Tensor[]): string[] => schedule(tensors).map((n) => n.op);
  const count = (list: readonly string[], op: string): number => list.filter((o) => o === op).length;

  test('frozen weights cost only the gradient by the activations', () => {
    const loss = sum(block(image));
    const forward = operators([loss]);
    const all = operators([loss, ...grad(loss, [image])]);
    expect([count(forward, 'Conv'), count(forward, 'Gemm')]).toEqual([1, 1]);
    // One convolution and one product more: no product for a weight, no sum for a bias. The four sums are the norm's own.
    expect([count(all, 'Conv'), count(all, 'Gemm')]).toEqual([2, 2]);
    expect(count(all, 'Slice') + count(all, 'Concat')).toBe(0);
    expect(count(all, 'ReduceSum') - count(forward, 'ReduceSum')).toBe(4);
  });

  test('a weight at the end does not reach back', () => {
    const last = input('last', [4, 8]);
    const loss = sum(linear(reshape(block(image), [18, 8]), last));
    const extra = operators([loss, ...grad(loss, [last])]).slice();
    expect(count(extra, 'Conv')).toBe(1);
    expect(count(extra, 'Gemm')).toBe(count(operators([loss]), 'Gemm') + 1);
  });

  test('a constant operand gets no gradient', () => {
    const loss = sum(mul(add(x, 3), literal([1, 2, 3])));
    expect(operators(grad(loss, [x])).filter((op) => op !== '@constant')).toEqual(['Reshape', 'Expand', 'Mul']);
  });
});

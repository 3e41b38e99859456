import { describe, expect, test } from 'vitest';
import { TraceError } from '../../src/graph/errors.js';
import { grad, vjp } from '../../src/graph/grad.js';
import { softmax } from '../../src/graph/ops/activation.js';
import { add, where } from '../../src/graph/ops/arithmetic.js';
import { attention } from '../../src/graph/ops/attention.js';
import { conv2d, convTranspose2d } from '../../src/graph/ops/conv.js';
import { addAlong, embedding, gather, takeAlong } from '../../src/graph/ops/gather.js';
import * as l from '../../src/graph/ops/layout.js';
import { gemm, linear, matmul } from '../../src/graph/ops/matmul.js';
import { groupNorm, layerNorm } from '../../src/graph/ops/norm.js';
import { avgPool2d, maxPool2d } from '../../src/graph/ops/pool.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { resize } from '../../src/graph/ops/resize.js';
import { topK } from '../../src/graph/ops/topk.js';
import { apply, input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';

const t = (...shape: number[]): Tensor => input('t', shape);
const ids = input('ids', [2, 3], 'int64');
const image = t(1, 4, 8, 8);

const MISTAKES: [operator: string, mistake: () => unknown, mentions: string[]][] = [
  ['Add', () => add(t(2, 3), t(2, 4)), ['[2, 3]', '[2, 4]']],
  ['Add', () => add(t(2), ids), ['float32[2]', 'int64[2, 3]', 'cast']],
  ['Add', () => add(1, 2), ['tensor']],
  ['Where', () => where(t(2), t(2), 0), ['bool', 'float32[2]']],
  ['MatMul', () => matmul(t(2, 3), t(4, 5)), ['[2, 3]', '[4, 5]']],
  ['MatMul', () => matmul(t(2, 3, 4), t(3, 4, 5)), ['[2]', '[3]']],
  ['Gemm', () => gemm(t(2, 3), t(2, 5)), ['[2, 3]', '[2, 5]']],
  ['linear', () => linear(t(2, 3), t(5, 4)), ['[2, 3]', '[5, 4]']],
  ['Conv', () => conv2d(image, t(8, 3, 3, 3)), ['[1, 4, 8, 8]', '[8, 3, 3, 3]']],
  ['Conv', () => conv2d(image, t(8, 4, 3, 3), t(4)), ['[4]', '[8, 4, 3, 3]']],
  ['Conv', () => conv2d(image, t(8, 4, 9, 9)), ['[8, 4, 9, 9]', 'larger']],
  ['ConvTranspose', () => convTranspose2d(image, t(3, 4, 3, 3)), ['[3, 4, 3, 3]', '[1, 4, 8, 8]']],
  ['ConvTranspose', () => convTranspose2d(image, t(4, 2, 3, 3), undefined, { outputSize: [20, 20] }), ['[20, 20]']],
  ['AveragePool', () => avgPool2d(image, { kernel: 9 }), ['[9, 9]', '[1, 4, 8, 8]']],
  ['MaxPool', () => maxPool2d(image, { kernel: 2, padding: 2 }), ['padding', '[2, 2]']],
  ['resize', () => resize(image, [0, 8]), ['[0, 8]']],
  ['resize', () => resize(image, [4, 4], { mode: 'lanczos' }), ['lanczos', 'antialias']],
  ['resize', () => resize(image, [4, 4], { alignCorners: true, antialias: true }), ['alignCorners']],
  ['resize', () => resize(image, [4, 4], { mode: 'nearest', antialias: true }), ['nearest']],
  ['Reshape', () => l.reshape(t(2, 3), [4, -1]), ['[2, 3]', '[4, -1]']],
  ['Transpose', () => l.transpose(t(2, 3), [0, 0]), ['[0, 0]', '[2, 3]']],
  ['Expand', () => l.expand(t(2, 3), [3]), ['[2, 3]', '[3]']],
  ['Concat', () => l.concat([t(2, 3), t(3, 4)], 1), ['[2, 3]', '[3, 4]', 'axis 1']],
  ['Concat', () => l.concat([t(2, 3), t(3)], 0), ['[3]']],
  ['Split', () => l.split(t(2, 3), [1, 1], 1), ['[1, 1]', '[2, 3]']],
  ['Squeeze', () => l.squeeze(t(2, 1), 0), ['axis 0', '[2, 1]']],
  ['Slice', () => l.slice(t(2, 3), [0], [1]), ['[2, 3]']],
  ['Slice', () => l.slice(t(4), [3], [0], [-1]), ['positive']],
  ['Pad', () => l.pad(t(2, 3), [0, 3], [0, 0], 'reflect'), ['[2, 3]']],
  ['Pad', () => l.pad(t(2, 3), [0, -1], [0, 0]), ['negative']],
  ['Pad', () => l.pad(t(2, 3), [1], [1]), ['[2, 3]']],
  ['Tile', () => l.tile(t(2, 3), [2]), ['rank 2']],
  ['ReduceSum', () => sum(t(2, 3), { axes: [2] }), ['axis 2', 'rank 2']],
  ['Softmax', () => softmax(t(2), -2), ['axis', 'rank 1']],
  ['Gather', () => gather(t(2), t(2)), ['integers', 'float32[2]']],
  ['GatherElements', () => takeAlong(t(2), ids, 0), ['[2, 3]', '[2]']],
  ['ScatterElements', () => addAlong(t(2, 3), ids, t(2, 2), 1), ['[2, 2]', '[2, 3]']],
  ['TopK', () => topK(t(2, 3), 4), ['4', '[2, 3]']],
  ['embedding', () => embedding(ids, t(3)), ['[3]']],
  ['LayerNormalization', () => layerNorm(t(2, 3), t(2)), ['[2]', '[2, 3]']],
  ['groupNorm', () => groupNorm(image, 3, t(4), t(4)), ['4', '3']],
  ['attention', () => attention(t(1, 2, 3, 4), t(1, 2, 5, 6), t(1, 2, 5, 4)), ['[1, 2, 3, 4]', '[1, 2, 5, 6]']],
  ['grad', () => grad(t(2), [t(2)]), ['one number', '[2]']],
  ['vjp', () => vjp([t(2)], [t(2)], [t(3)]), ['[2]', '[3]']],
  ['vjp', () => vjp([t(2)], [t(2)], []), ['0', '1']],
  ['Identity', () => apply({ op: 'Identity', inputs: [] }, [1.5]), ['[1.5]']],
];

/** The error of a mistake, and the line of this file that the mistake lies on, by the error's own stack. */
function caught(mistake: () => unknown): TraceError {
  try {
    mistake();
  } catch (error) {
    return error as TraceError;
  }
  throw new Error('nothing was thrown');
}

test.each(MISTAKES)('%s: %s', (operator, mistake, mentions) => {
  const error = caught(mistake);
  expect(error).toBeInstanceOf(TraceError);
  expect(error.message.startsWith(`${operator}: `), error.message).toBe(true);
  for (const part of mentions) expect(error.message).toContain(part);
});

describe('the caller’s line', () => {
  const line = (text: string | undefined): string | undefined => /errors\.test\.ts:(\d+):\d+\)/.exec(text ?? '')?.[1];
  const thisLine = (): number => Number(/errors\.test\.ts:(\d+)/.exec(new Error().stack!.split('\n')[2]!)![1]);

  test('is that of the wrong operator', () => {
    const here = thisLine();
    const error = caught(() => add(t(2, 3), t(2, 4)));
    expect(line(error.message)).toBe(String(here + 1));
  });

  test('is found from operators that call operators', () => {
    const here = thisLine();
    const error = caught(() => groupNorm(image, 2, t(4), t(5)));
    expect(line(error.message)).toBe(String(here + 1));
  });

  test('is found from deep inside a gradient', () => {
    const bad = apply({ op: 'Identity', inputs: [image], vjps: [deep(30)] }, image.shape);
    const here = thisLine();
    const error = caught(() => grad(sum(bad), [image]));
    expect(error.message).toContain('Conv');
    // Gradient rules of this file come first.
    expect(line(error.message)).toBeDefined();
    expect(Number(line(error.message))).toBeGreaterThan(here);
  });
});

/** A gradient rule that goes wrong below many frames. */
function deep(depth: number): (g: Tensor) => Tensor {
  return depth === 0 ? () => conv2d(image, t(1, 1, 1, 1)) : deep(depth - 1);
}

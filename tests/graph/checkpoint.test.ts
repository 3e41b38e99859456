import { expect, test } from 'vitest';
import { sizeOf } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { host } from '../../src/graph/dtype.js';
import { checkpoint, grad, stopGradient } from '../../src/graph/grad.js';
import { schedule } from '../../src/graph/onnx/export.js';
import { add, mul, sin, square, tanh } from '../../src/graph/ops/arithmetic.js';
import { silu } from '../../src/graph/ops/activation.js';
import { conv2d } from '../../src/graph/ops/conv.js';
import { gather } from '../../src/graph/ops/gather.js';
import { reshape } from '../../src/graph/ops/layout.js';
import { linear } from '../../src/graph/ops/matmul.js';
import { groupNorm } from '../../src/graph/ops/norm.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { evaluate } from './evaluate.js';

type Segment = (...xs: Tensor[]) => Tensor[];
/** Runs a segment: as it is, or checkpointed. */
type Run = (f: Segment, xs: readonly Tensor[]) => Tensor[];
const plain: Run = (f, xs) => f(...xs);

const INPUTS = {
  x: input('x', [4, 6]), y: input('y', [4, 6]), w: input('w', [6, 6]), b: input('b', [6]),
  ids: input('ids', [5], 'int64'), image: input('image', [2, 4, 5, 5]),
  kernel: input('kernel', [4, 4, 3, 3]), gain: input('gain', [4]),
};
const { x, y, w, b, ids, image, kernel, gain } = INPUTS;
const feeds: Record<string, HostTensor> = Object.fromEntries(Object.entries(INPUTS).map(([name, { shape, dtype }]) => [
  name,
  dtype === 'int64' ? host(BigInt64Array.from([0n, 1n, 1n, 3n, 1n]), shape, dtype)
    : host(normal({ seed: 3, stream: name, step: 0 }, 0, sizeOf(shape)), shape),
]));

/** Losses of checkpointable segments, and what they are differentiated by. */
const CASES: Record<string, [loss: (run: Run) => Tensor, by: readonly Tensor[]]> = {
  'one input': [(run) => sum(square(run((t) => [sin(mul(t, t))], [x])[0]!)), [x]],
  'captured weights': [(run) => sum(square(run((t) => [tanh(linear(t, w, b))], [x])[0]!)), [x, w, b]],
  'a residual block': [
    (run) => {
      const block: Segment = (t) => {
        const h = silu(groupNorm(t!, 2, gain, gain));
        return [add(t!, conv2d(h, kernel, undefined, { padding: 1 }))];
      };
      return sum(sin(run(block, [image])[0]!));
    },
    [image, kernel, gain],
  ],
  'two after each other': [(run) => {
    const layer: Segment = (t) => [tanh(linear(t!, w, b))];
    return sum(square(run(layer, run(layer, [x]))[0]!));
  }, [x, w]],
  'nested': [(run) => {
    const inner: Segment = (t) => [sin(linear(t!, w))];
    return sum(square(run((t) => [mul(run(inner, [mul(t, 2)])[0]!, t)], [x])[0]!));
  }, [x, w]],
  'several outputs and inputs': [(run) => {
    const [p, q, r] = run((s, t) => [mul(s!, t!), sin(s!), t!], [x, y]) as [Tensor, Tensor, Tensor];
    return sum(add(mul(p, sin(q)), square(r)));
  }, [x, y]],
  'an output without gradient': [(run) => sum(sin(run((s, t) => [mul(s!, t!), square(s!)], [x, y])[0]!)), [x, y]],
  'one tensor as both inputs': [(run) => sum(sin(run((s, t) => [mul(s!, square(t!))], [x, x])[0]!)), [x]],
  'an input that is also captured': [(run) => sum(sin(run((t) => [mul(t, square(x))], [x])[0]!)), [x]],
  'captured tensors that depend on each other': [(run) => {
    const z = sin(y);
    return sum(square(run((t) => [mul(mul(t, z), y)], [x])[0]!));
  }, [x, y]],
  'captured tensors that depend on the input': [(run) => {
    const z = sin(x);
    return sum(square(run((t) => [mul(t, z)], [x])[0]!));
  }, [x]],
  'what is returned is captured': [(run) => sum(square(run((t) => [sin(t), y], [x])[1]!)), [x, y]],
  'stopGradient inside': [(run) => sum(sin(run((t) => [mul(t, stopGradient(mul(t, y)))], [x])[0]!)), [x, y]],
  'integers': [(run) => sum(square(run((t, i) => [gather(t!, i!, 0)], [sin(x), ids])[0]!)), [x]],
  'a reshaped input': [(run) => sum(square(run((t) => [sin(reshape(t, [24]))], [reshape(x, [6, 4])])[0]!)), [x]],
};

test.each(Object.entries(CASES))('%s: the same first and second derivatives', async (_name, [loss, by]) => {
  const outputs: Record<string, Tensor> = {};
  for (const [name, run] of Object.entries({ plain, checkpoint })) {
    const value = loss(run);
    const first = grad(value, by);
    const second = grad(first.map((g) => sum(sin(g))).reduce((p, q) => add(p, q)), by);
    Object.assign(outputs, { [`${name} value`]: value });
    first.forEach((g, i) => (outputs[`${name} first ${i}`] = g));
    second.forEach((g, i) => (outputs[`${name} second ${i}`] = g));
  }
  const found = await evaluate(outputs, feeds);
  for (const key of Object.keys(found).filter((k) => k.startsWith('plain'))) {
    const [expected, values] = [found[key]!, found[key.replace('plain', 'checkpoint')]!];
    const scale = Math.max(...expected.map(Math.abs), 1e-6);
    const error = Math.max(...expected.map((v, i) => Math.abs(v - values[i]!))) / scale;
    expect(error, key).toBeLessThan(1e-5);
  }
});

test('an input that the segment is the first to ask for gets its gradient', async () => {
  const outputs: Record<string, Tensor> = {};
  for (const [name, run] of Object.entries({ plain, checkpoint })) {
    let late: Tensor | undefined;
    const value = sum(square(run((t) => [tanh(linear(t!, (late ??= input(`late ${name}`, [6, 6]))))], [x])[0]!));
    outputs[name] = grad(value, [late!])[0]!;
  }
  const found = await evaluate(outputs, { ...feeds, 'late plain': feeds['w']!, 'late checkpoint': feeds['w']! });
  expect(found['plain']!.some((v) => Math.abs(v) > 0.1)).toBe(true);
  found['plain']!.forEach((v, i) => expect(found['checkpoint']![i]).toBeCloseTo(v, 4));
});

test('the backward pass computes the segment again, once, and only for what is asked', () => {
  const count = (op: string, tensors: readonly Tensor[]): number => schedule(tensors).filter((n) => n.op === op).length;
  const f: Segment = (t) => [sin(linear(t!, w, b))];
  const loss = sum(checkpoint(f, checkpoint(f, [x]))[0]!);
  expect(count('Gemm', [loss])).toBe(2);
  // Each segment: again, and one product for the gradient by its input.
  expect(count('Gemm', [loss, ...grad(loss, [x])])).toBe(2 + 2 + 2);
  expect(count('Gemm', [loss, ...grad(loss, [x, w])])).toBe(2 + 2 + 2 + 2);
});

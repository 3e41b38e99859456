import { expect, test } from 'vitest';
import { fromFloat32, host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { grad, vjp } from '../../src/graph/grad.js';
import { schedule } from '../../src/graph/onnx/export.js';
import { cast } from '../../src/graph/ops/arithmetic.js';
import { attention } from '../../src/graph/ops/attention.js';
import { embedding } from '../../src/graph/ops/gather.js';
import { groupNorm, layerNorm } from '../../src/graph/ops/norm.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { embeddingMlp, sinusoid } from '../../src/nn/embedding.js';
import { loraAdapter, loraParameters, planByTargets } from '../../src/nn/lora.js';
import { FLOAT32, PRECISIONS } from '../../src/nn/precision.js';
import type { Precision } from '../../src/nn/precision.js';
import { resnetBlock } from '../../src/nn/resnet.js';
import { frozenWeights, leave, rootScope } from '../../src/nn/scope.js';
import { normal } from '../../src/random/random.js';
import { evaluate } from '../graph/evaluate.js';

const half = (shape: readonly number[], step: number): HostTensor =>
  fromFloat32(normal({ seed: 3, stream: 'precision', step }, 0, shape.reduce((a, b) => a * b, 1)), shape, 'float16');

/** y = f(x₀, x₁, …) in half precision, and its gradients, against float32 of the same numbers: the worst difference over the largest value. */
async function worst(shapes: readonly (readonly number[])[], f: (...xs: Tensor[]) => Tensor): Promise<number> {
  const feeds = Object.fromEntries(shapes.map((shape, i) => [`x${i}`, half(shape, i)]));
  const inputs = shapes.map((shape, i) => input(`x${i}`, shape, 'float16'));
  const all = (dtype: 'float16' | 'float32'): Record<string, Tensor> => {
    const xs = inputs.map((x) => cast(x, dtype));
    const y = f(...xs);
    expect(y.dtype).toBe(dtype);
    const results = [y, ...vjp([y], xs, [cast(input('g', y.shape, 'float16'), dtype)])];
    feeds['g'] ??= half(y.shape, 99);
    return Object.fromEntries(results.map((t, i) => [`o${i}`, cast(t, 'float32')]));
  };
  const [ours, exact] = [await evaluate(all('float16'), feeds), await evaluate(all('float32'), feeds)];
  return Math.max(...Object.keys(exact).map((name) => {
    const size = exact[name]!.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    return ours[name]!.reduce((m, v, i) => Math.max(m, Math.abs(v - exact[name]![i]!)), 0) / size;
  }));
}

test('norms and attention are traced and differentiated in half precision', async () => {
  // 2⁻¹¹ a rounding; a handful follow each other.
  expect(await worst([[2, 8, 6, 6], [8], [8]], (x, scale, shift) => groupNorm(x, 4, scale, shift))).toBeLessThan(4e-3);
  expect(await worst([[2, 5, 24], [24], [24]], (x, scale, shift) => layerNorm(x, scale, shift))).toBeLessThan(4e-3);
  expect(await worst([[1, 2, 40, 8], [1, 2, 33, 8], [1, 2, 33, 8]], (q, k, v) => attention(q, k, v))).toBeLessThan(4e-3);
});

test('sums over many positions do not lose what half precision has no room for', async () => {
  // 40,000 positions a group, each gradient about 1: their sum is beyond 65,504 in squares, and its last bits beyond 11.
  const x = input('x', [1, 2, 200, 200], 'float16');
  const [scale, shift] = [input('scale', [2], 'float16'), input('shift', [2], 'float16')];
  const y = groupNorm(x, 1, scale, shift);
  const { byShift } = await evaluate({ byShift: cast(vjp([y], [shift], [input('g', x.shape, 'float16')])[0]!, 'float32') }, {
    x: half([1, 2, 200, 200], 0), scale: half([2], 1), shift: half([2], 2),
    g: fromFloat32(new Float32Array(80_000).fill(0.75), [1, 2, 200, 200], 'float16'),
  });
  expect(byShift).toEqual([30_000, 30_000]);
  const rows = embedding(input('ids', [1, 5000], 'int64'), input('table', [3, 1], 'float16'));
  const ids = host(new BigInt64Array(5000), [1, 5000], 'int64');
  const [table] = vjp([rows], [rows.node.inputs[0]!], [input('g', rows.shape, 'float16')]);
  const { t } = await evaluate({ t: cast(table!, 'float32') }, { ids, g: fromFloat32(new Float32Array(5000).fill(1), rows.shape, 'float16') });
  expect(t).toEqual([5000, 0, 0]);
});

/** A block with a time embedding and an adapter, and the gradient by the adapter. */
function block(precision: Precision = FLOAT32) {
  const adapter = loraAdapter('a', planByTargets({ rank: 2, targets: ['conv1', 'time_emb_proj'] }));
  const scope = rootScope(frozenWeights(), [adapter], 'net', precision);
  const time = embeddingMlp(scope.at('time_embedding'), sinusoid(input('t', [2]), 8), 16);
  const x = resnetBlock(scope.at('resnet'), input('x', [2, 8, 4, 4]), 12, { groups: 4, epsilon: 1e-5, time });
  const output = leave(x);
  const parameters = loraParameters(adapter);
  return { output, x, time, parameters, gradients: grad(sum(output), [...parameters.values()]) };
}

test('by default nothing is cast', () => {
  const { output, gradients } = block();
  expect(schedule([output, ...gradients]).filter(({ op }) => op === 'Cast')).toEqual([]);
});

test('layers follow the policy; adapters, their gradients and islands stay float32', () => {
  const { x, time, parameters, gradients, output } = block(PRECISIONS.mixed);
  expect([x, time, output, ...parameters.values(), ...gradients].map((t) => t.dtype)).toEqual(
    ['float16', ...new Array<string>(gradients.length * 2 + 2).fill('float32')]);
  const types = (op: string): Set<string> => new Set(schedule([output]).filter((n) => n.op === op).map((n) => n.outputs[0]!.dtype));
  expect(types('Conv')).toEqual(new Set(['float16', 'float32'])); // the layer's own, the adapter's
  expect(types('Sin')).toEqual(new Set(['float32']));
  expect(schedule([output]).filter((n) => n.op === '@input').every((n) => n.outputs[0]!.dtype === 'float32')).toBe(true);
});

test('gradients too small for float16 pass through it by the loss scale, which does not come out', async () => {
  const feeds: Record<string, HostTensor> = {};
  const run = async (precision: Precision, lossScale: number): Promise<number[]> => {
    const { output, parameters } = block(precision);
    const xs = [...parameters.values()];
    const gradients = vjp([output], xs, [input('seed', output.shape)]);
    const names = schedule(gradients).filter((n) => n.op === '@input').map((n) => [n.name!, n.outputs[0]!.shape] as const);
    for (const [name, shape] of names) {
      const noise = normal({ seed: 5, stream: name, step: 0 }, 0, shape.reduce((a, b) => a * b, 1));
      // About as large as the gradients of a mean over an image.
      feeds[name] ??= host(name === 'seed' ? noise.map((v) => v * 1e-8) : noise, shape);
    }
    feeds['loss scale'] = host(new Float32Array([lossScale]), []);
    const results = await evaluate(Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])), feeds);
    return Object.values(results).flat();
  };
  const [exact, scaled, plain] = [await run(FLOAT32, 1), await run(PRECISIONS.mixed, 2 ** 20), await run(PRECISIONS.mixed, 1)];
  const dot = (a: number[], b: number[]): number => a.reduce((t, v, i) => t + v * b[i]!, 0);
  expect(dot(scaled, exact) / Math.sqrt(dot(scaled, scaled) * dot(exact, exact))).toBeGreaterThan(0.999);
  expect(dot(scaled, exact) / dot(exact, exact)).toBeCloseTo(1, 2);
  expect(dot(plain, plain)).toBe(0);
});

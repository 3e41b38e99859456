import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { vjp } from '../../src/graph/grad.js';
import { schedule } from '../../src/graph/onnx/export.js';
import { conv2d } from '../../src/graph/ops/conv.js';
import type { ConvOptions } from '../../src/graph/ops/conv.js';
import { input, weight } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { channelBlock } from '../../src/runtime/blocked-layout.js';
import { compile } from '../../src/runtime/compile.js';
import type { CompileOptions, Executable } from '../../src/runtime/compile.js';

const random = (name: string, shape: readonly number[], scale = 1): HostTensor =>
  host(normal({ seed: 5, stream: name, step: 0 }, 0, shape.reduce((a, b) => a * b)).map((v) => v * scale), shape);

interface Case {
  n: number;
  c: number;
  o: number;
  size: readonly [number, number];
  options?: ConvOptions;
  bias?: boolean;
  kernel?: number;
}

/** The convolution and its gradient by the input, compiled with and without our choice of operators. */
async function both({ n, c, o, size, options = { padding: 1 }, bias = true, kernel = 3 }: Case, how: CompileOptions) {
  const x = input('x', [n, c, ...size]);
  const shape = [o, c, kernel, kernel];
  const y = conv2d(x, weight('w', shape), bias ? weight('b', [o]) : undefined, options);
  const g = input('g', y.shape);
  const outputs = { y, byX: vjp([y], [x], [g])[0]! };
  const weights = { w: random('w', shape, 1 / Math.sqrt(9 * c)), b: random('b', [o]) };
  const feeds = { x: random('x', x.shape), g: random('g', g.shape) };
  // Baked weights leave every convolution to ONNX Runtime.
  const runs = [await compile({ outputs }, { weights, ...how }), await compile({ outputs }, { weights, bake: true, hoist: false })] as const;
  const [ours, plain] = [await runs[0].run(feeds), await runs[1].run(feeds)];
  for (const run of runs) await run.release();
  const worst = (['y', 'byX'] as const).map((name) => {
    const [a, b] = [ours[name].data as Float32Array, plain[name].data as Float32Array];
    const scale = b.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    return a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0) / scale;
  });
  return { error: Math.max(...worst), operators: operatorsOf(runs[0]) };
}

/** Convolutions of the compiled graph: all of them, in blocked layout, and depthwise. */
function operatorsOf({ compiled }: Executable): { all: number; blocked: number; depthwise: number } {
  const all = schedule(Object.values(compiled.outputs)).filter((node) => node.op === 'Conv');
  const blocked = all.filter((node) => node.domain !== '');
  return { all: all.length, blocked: blocked.length, depthwise: blocked.filter((node) => node.attributes['group'] !== 1).length };
}

const hasBlocks = (await channelBlock()) !== null;
/** Two convolutions, forward and backward, of 16 transforms and 16 products each. */
const WINOGRAD = { all: 64, blocked: 64, depthwise: 32 };
const DIRECT = { all: 2, blocked: 2, depthwise: 0 };
/** One strided convolution, and four for its gradient. */
const PHASES = { all: 5, blocked: 5, depthwise: 0 };
/** The gradient stays a transposed convolution. */
const TRANSPOSED = { all: 1, blocked: 1, depthwise: 0 };

test.runIf(hasBlocks).each<[string, Case, CompileOptions, object]>([
  ['3 × 3', { n: 1, c: 128, o: 160, size: [16, 16] }, {}, WINOGRAD],
  ['several images, not square, no bias', { n: 3, c: 160, o: 128, size: [6, 20], bias: false }, {}, WINOGRAD],
  ['the fewest channels', { n: 1, c: 96, o: 96, size: [16, 16] }, {}, WINOGRAD],
  ['odd height', { n: 1, c: 128, o: 128, size: [17, 16] }, {}, DIRECT],
  ['fewer channels', { n: 1, c: 80, o: 128, size: [16, 16] }, {}, DIRECT],
  ['few positions', { n: 1, c: 128, o: 128, size: [12, 12] }, {}, DIRECT],
  ['dilation', { n: 1, c: 128, o: 128, size: [16, 16], options: { padding: 2, dilation: 2 } }, {}, DIRECT],
  ['5 × 5', { n: 1, c: 32, o: 32, size: [16, 16], options: { padding: 2 }, kernel: 5 }, {}, DIRECT],
  ['kernels put in blocks at each run', { n: 1, c: 128, o: 128, size: [32, 32] }, { hoist: false }, DIRECT],
  ['and not for few positions', { n: 1, c: 128, o: 128, size: [16, 16] }, { hoist: false }, { all: 2, blocked: 0, depthwise: 0 }],
  ['stride 2', { n: 2, c: 32, o: 48, size: [8, 12], options: { padding: 1, stride: 2 } }, {}, PHASES],
  ['stride 2, padded at the end', { n: 1, c: 48, o: 32, size: [10, 8], options: { padding: [0, 0, 1, 1], stride: 2 } }, {}, PHASES],
  ['stride 2, 4 × 4', { n: 1, c: 32, o: 32, size: [8, 8], options: { padding: 1, stride: 2 }, kernel: 4 }, {}, PHASES],
  ['stride 2, odd height', { n: 1, c: 32, o: 32, size: [9, 8], options: { padding: 1, stride: 2 } }, {}, TRANSPOSED],
  ['stride 2, kernel 1 × 1', { n: 1, c: 32, o: 32, size: [8, 8], options: { stride: 2 }, kernel: 1 }, {}, { all: 1, blocked: 0, depthwise: 0 }],
  ['stride 2, kernel given at each run', { n: 1, c: 32, o: 32, size: [64, 64], options: { padding: 1, stride: 2 } }, { hoist: false }, TRANSPOSED],
  ['channels that do not fill blocks', { n: 1, c: 130, o: 130, size: [16, 16] }, {}, { all: 2, blocked: 0, depthwise: 0 }],
])('%s: the values and gradients of plain convolution', async (_name, which, how, expected) => {
  const { error, operators } = await both(which, how);
  expect(error).toBeLessThan(2e-6);
  expect(operators).toEqual(expected);
});

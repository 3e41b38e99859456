import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { vjp } from '../../src/graph/grad.js';
import { schedule } from '../../src/graph/onnx/export.js';
import type { Graph } from '../../src/graph/onnx/export.js';
import { conv2d } from '../../src/graph/ops/conv.js';
import type { ConvOptions } from '../../src/graph/ops/conv.js';
import { input, weight } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { blockConvolutions } from '../../src/runtime/blocked-convolution.js';
import { channelBlock } from '../../src/runtime/blocked-layout.js';
import { compile } from '../../src/runtime/compile.js';
import type { CompileOptions } from '../../src/runtime/compile.js';
import { frozenNodes } from '../../src/runtime/frozen.js';
import { emulateBlocks } from './emulated-blocks.js';

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

/** The convolution and its gradient by the input. */
function traced({ n, c, o, size, options = { padding: 1 }, bias = true, kernel = 3 }: Case) {
  const x = input('x', [n, c, ...size]);
  const shape = [o, c, kernel, kernel];
  const y = conv2d(x, weight('w', shape), bias ? weight('b', [o]) : undefined, options);
  const g = input('g', y.shape);
  return {
    outputs: { y, byX: vjp([y], [x], [g])[0]! },
    weights: { w: random('w', shape, 1 / Math.sqrt(9 * c)), b: random('b', [o]) },
    feeds: { x: random('x', x.shape), g: random('g', g.shape) },
  };
}
type Outputs = ReturnType<typeof traced>['outputs'];

async function results(outputs: Outputs, weights: Record<string, HostTensor>, feeds: Record<string, HostTensor>, how: CompileOptions) {
  const executable = await compile({ outputs }, { weights, ...how });
  const values = await executable.run(feeds);
  await executable.release();
  return { values, operators: operatorsOf(executable.compiled) };
}

/** Baked weights leave every convolution to ONNX Runtime. */
const PLAIN: CompileOptions = { bake: true, hoist: false };

/** The largest difference, as a share of the largest number. */
function error(ours: Record<keyof Outputs, HostTensor>, plain: Record<keyof Outputs, HostTensor>): number {
  const worst = (['y', 'byX'] as const).map((name) => {
    const [a, b] = [ours[name].data as Float32Array, plain[name].data as Float32Array];
    const scale = b.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    return a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0) / scale;
  });
  return Math.max(...worst);
}

/** Convolutions of a graph: all of them, in blocked layout, and depthwise. */
function operatorsOf(compiled: Graph): { all: number; blocked: number; depthwise: number } {
  const all = schedule(Object.values(compiled.outputs)).filter((node) => node.op === 'Conv');
  const blocked = all.filter((node) => node.domain !== '');
  return { all: all.length, blocked: blocked.length, depthwise: blocked.filter((node) => node.attributes['group'] !== 1).length };
}

const own = await channelBlock();
/** Two convolutions, forward and backward, of 16 transforms and 16 products each. */
const WINOGRAD = { all: 64, blocked: 64, depthwise: 32 };
const DIRECT = { all: 2, blocked: 2, depthwise: 0 };
/** One strided convolution, and four for its gradient. */
const PHASES = { all: 5, blocked: 5, depthwise: 0 };
/** The gradient stays a transposed convolution. */
const TRANSPOSED = { all: 1, blocked: 1, depthwise: 0 };

type Expected = ReturnType<typeof operatorsOf>;
const NONE = { all: 2, blocked: 0, depthwise: 0 };

const CASES: [name: string, which: Case, how: { hoist?: boolean }, Expected][] = [
  ['3 × 3', { n: 1, c: 128, o: 160, size: [16, 16] }, {}, WINOGRAD],
  ['several images, not square, no bias', { n: 3, c: 160, o: 128, size: [6, 20], bias: false }, {}, WINOGRAD],
  ['the fewest channels', { n: 1, c: 96, o: 96, size: [16, 16] }, {}, WINOGRAD],
  ['odd height', { n: 1, c: 128, o: 128, size: [17, 16] }, {}, DIRECT],
  ['fewer channels', { n: 1, c: 80, o: 128, size: [16, 16] }, {}, DIRECT],
  ['few positions', { n: 1, c: 128, o: 128, size: [12, 12] }, {}, DIRECT],
  ['dilation', { n: 1, c: 128, o: 128, size: [16, 16], options: { padding: 2, dilation: 2 } }, {}, DIRECT],
  ['5 × 5', { n: 1, c: 32, o: 32, size: [16, 16], options: { padding: 2 }, kernel: 5 }, {}, DIRECT],
  ['kernels put in blocks at each run', { n: 1, c: 128, o: 128, size: [32, 32] }, { hoist: false }, DIRECT],
  ['and not for few positions', { n: 1, c: 128, o: 128, size: [16, 16] }, { hoist: false }, NONE],
  ['stride 2', { n: 2, c: 32, o: 48, size: [8, 12], options: { padding: 1, stride: 2 } }, {}, PHASES],
  ['stride 2, padded at the end', { n: 1, c: 48, o: 32, size: [10, 8], options: { padding: [0, 0, 1, 1], stride: 2 } }, {}, PHASES],
  ['stride 2, 4 × 4', { n: 1, c: 32, o: 32, size: [8, 8], options: { padding: 1, stride: 2 }, kernel: 4 }, {}, PHASES],
  ['stride 2, odd height', { n: 1, c: 32, o: 32, size: [9, 8], options: { padding: 1, stride: 2 } }, {}, TRANSPOSED],
  ['stride 2, kernel 1 × 1', { n: 1, c: 32, o: 32, size: [8, 8], options: { stride: 2 }, kernel: 1 }, {}, { all: 1, blocked: 0, depthwise: 0 }],
  ['stride 2, kernel given at each run', { n: 1, c: 32, o: 32, size: [64, 64], options: { padding: 1, stride: 2 } }, { hoist: false }, TRANSPOSED],
  ['channels that do not fill blocks', { n: 1, c: 130, o: 130, size: [16, 16] }, {}, NONE],
];

/** Widths that fill blocks of 8 and not of 16: what each makes of them. */
const NARROW: [name: string, which: Case, Record<8 | 16, Expected>][] = [
  ['one block of 8', { n: 1, c: 8, o: 8, size: [16, 16] }, { 8: DIRECT, 16: NONE }],
  ['wide, not whole blocks of 16', { n: 1, c: 120, o: 104, size: [16, 16] }, { 8: WINOGRAD, 16: NONE }],
  ['stride 2', { n: 1, c: 24, o: 16, size: [8, 8], options: { padding: 1, stride: 2 } }, { 8: PHASES, 16: { all: 1, blocked: 0, depthwise: 0 } }],
];

describe.each([8, 16] as const)('blocks of %i channels', (block) => {
  const all: typeof CASES = [...CASES, ...NARROW.map(([name, which, expected]): (typeof CASES)[number] => [`${name}, narrow`, which, {}, expected[block]])];

  // Any processor proves these; an emulated one (tools/older-processors.sh) would take minutes.
  test.skipIf(process.env['ATTUNE_TEST_CPU']).each(all)('%s: the values and gradients of plain convolution, by operators made of plain ones', async (_name, which, { hoist = true }, expected) => {
    const { outputs, weights, feeds } = traced(which);
    const lowered = blockConvolutions({ outputs }, block, hoist ? frozenNodes({ outputs }, weights) : new Map());
    expect(operatorsOf(lowered)).toEqual(expected);
    const ours = await results(emulateBlocks(lowered, block).outputs, weights, feeds, PLAIN);
    const plain = await results(outputs, weights, feeds, PLAIN);
    expect(error(ours.values, plain.values)).toBeLessThan(2e-6);
  });

  test.runIf(own === block).each(all)('%s: the same, on this processor', async (_name, which, how, expected) => {
    const { outputs, weights, feeds } = traced(which);
    const ours = await results(outputs, weights, feeds, how);
    const plain = await results(outputs, weights, feeds, PLAIN);
    expect(error(ours.values, plain.values)).toBeLessThan(2e-6);
    expect(ours.operators).toEqual(expected);
  });
});

test('no blocks: every convolution is left as it is, and nothing but rotated kernels is made once', async () => {
  const { outputs, weights, feeds } = traced({ n: 1, c: 128, o: 160, size: [16, 16] });
  const ours = await results(outputs, weights, feeds, { channelBlock: null });
  expect(ours.operators).toEqual(NONE);
  expect(error(ours.values, (await results(outputs, weights, feeds, PLAIN)).values)).toBeLessThan(2e-6);
});

test('the block of a processor is one that these tests cover', () => {
  if (process.arch === 'x64') expect([8, 16]).toContain(own);
  else expect([null, 16]).toContain(own);
});

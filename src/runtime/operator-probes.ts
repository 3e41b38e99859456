/** @file Operators that GPUs have got wrong, each computed on a device and on the CPU; and how fast a device is. */
import { host, sizeOf } from '../graph/dtype.js';
import type { DType, HostTensor, Shape } from '../graph/dtype.js';
import { softmax } from '../graph/ops/activation.js';
import { add, cast } from '../graph/ops/arithmetic.js';
import { attention } from '../graph/ops/attention.js';
import { conv2d, convTranspose2d } from '../graph/ops/conv.js';
import { addAlong } from '../graph/ops/gather.js';
import { matmul } from '../graph/ops/matmul.js';
import { layerNorm } from '../graph/ops/norm.js';
import { upsampleNearest } from '../graph/ops/pool.js';
import { sum } from '../graph/ops/reduce.js';
import { resize } from '../graph/ops/resize.js';
import { constant, input, weight } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { compile } from './compile.js';
import type { Execution } from './compile.js';
import { DeviceError } from './device.js';
import { computesFloat16 } from './webgpu.js';

interface Probe {
  readonly name: string;
  readonly shapes: readonly Shape[];
  readonly f: (...xs: Tensor[]) => Tensor;
  /** Only in float32, where the others are computed in float16 too. */
  readonly float32?: true;
}

const picture = [1, 8, 16, 16];
/** Where rows of 16 are added to: each place twice. */
const places = (): Tensor => constant(host(BigInt64Array.from({ length: 256 }, (_, i) => BigInt((i * 5) % 8)), [16, 16], 'int64'));

const PROBES: readonly Probe[] = [
  { name: 'product', shapes: [[64, 96], [96, 64]], f: (a, b) => matmul(a!, b!) },
  { name: 'convolution', shapes: [picture, [16, 8, 3, 3]], f: (x, w) => conv2d(x!, w!, undefined, { padding: 1 }) },
  { name: 'transposed convolution', shapes: [picture, [8, 16, 3, 3]], f: (x, w) => convTranspose2d(x!, w!, undefined, { stride: 2, padding: 1 }) },
  { name: 'resize, linear', shapes: [picture], f: (x) => resize(x!, [24, 40]) },
  { name: 'resize, nearest', shapes: [picture], f: (x) => upsampleNearest(x!, 2) },
  { name: 'scatter with addition', shapes: [[16, 16], [16, 16]], f: (x, g) => addAlong(x!, places(), g!, 1) },
  { name: 'softmax', shapes: [[2, 64, 77]], f: (x) => softmax(x!) },
  { name: 'normalisation far from zero', shapes: [[8, 64], [64], [64]], f: (x, s, b) => layerNorm(add(x!, 100), s!, b), float32: true },
  ...[40, 64, 80, 160].map((width): Probe => ({
    name: `attention, head width ${width}`, shapes: [[1, 2, 64, width], [1, 2, 77, width], [1, 2, 77, width]], f: (q, k, v) => attention(q!, k!, v!),
  })),
];

/** Numbers between -1 and 1 without a pattern that a kernel could get right by accident. */
const numbers = (shape: Shape, seed: number): HostTensor =>
  host(Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin((i + 1) * 12.9898 + seed * 78.233)), shape);

export interface ProbeResult {
  readonly name: string;
  readonly dtype: DType;
  /** Largest |difference| from the CPU in float32, of the CPU's largest number; null if it could not be computed. */
  readonly error: number | null;
  readonly right: boolean;
  /** Why it could not be computed. */
  readonly reason?: string;
}

/** Of the largest number: rounding of float32, and of float16 in inputs, products and result. */
const TOLERANCES: Partial<Record<DType, number>> = { float32: 1e-4, float16: 1e-2 };

async function probed({ name, shapes, f }: Probe, dtype: 'float32' | 'float16', execution: Execution): Promise<ProbeResult> {
  const xs = shapes.map((shape, i) => input(`x${i}`, shape));
  const feeds = Object.fromEntries(shapes.map((shape, i) => [`x${i}`, numbers(shape, i)]));
  const at = dtype === 'float32' ? f(...xs) : cast(f(...xs.map((x) => cast(x, dtype))), 'float32');
  const run = async (y: Tensor, on: Execution): Promise<Float32Array> => {
    const executable = await compile({ outputs: { y } }, on);
    await using _ = deferred(() => executable.release());
    return (await executable.run(feeds)).y.data as Float32Array;
  };
  try {
    const [want, got] = [await run(f(...xs), { ...execution, device: 'cpu' }), await run(at, execution)];
    let [worst, largest] = [0, 0];
    for (let i = 0; i < want.length; i++) {
      worst = Math.max(worst, Math.abs(want[i]! - got[i]!));
      largest = Math.max(largest, Math.abs(want[i]!));
    }
    return { name, dtype, error: worst / largest, right: worst / largest < TOLERANCES[dtype]! };
  } catch (error) {
    execution.signal?.throwIfAborted();
    if (error instanceof DeviceError) throw error; // no operator's fault
    return { name, dtype, error: null, right: false, reason: (error as Error).message.split('\n')[0]! };
  }
}

/** Whether the device computes in half precision at all. */
export async function hasFloat16(execution: Execution): Promise<boolean> {
  if (execution.device === 'webgpu') return computesFloat16();
  return (await probed({ name: '', shapes: [[4]], f: (x) => add(x!, x!) }, 'float16', execution)).right;
}

/** All operators as Attune has them computed on the device, in turn. */
export async function* probeOperators(dtype: 'float32' | 'float16', execution: Execution): AsyncGenerator<ProbeResult> {
  for (const probe of PROBES) if (dtype === 'float32' || !probe.float32) yield await probed(probe, dtype, execution);
}

export interface Speed {
  readonly name: string;
  /** 10⁹ additions and multiplications a second. */
  readonly gflops: number;
}

/** Seconds of a run, the median of three; what is computed stays on the device but for one number. */
async function seconds(of: (...xs: Tensor[]) => Tensor, shapes: readonly Shape[], execution: Execution): Promise<number> {
  const weights = new Map(shapes.map((shape, i) => [`w${i}`, numbers(shape, i)]));
  const y = sum(of(...shapes.map((shape, i) => weight(`w${i}`, shape))));
  const executable = await compile({ outputs: { y } }, { ...execution, weights, hoist: false });
  await using _ = deferred(() => executable.release());
  await executable.run({});
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    const began = performance.now();
    await executable.run({});
    times.push((performance.now() - began) / 1000);
  }
  return times.toSorted((a, b) => a - b)[1]!;
}

/** A size that software can do; larger ones follow while they take less than a twentieth of a second. */
const ENOUGH = 0.05;

export async function measureSpeed(execution: Execution): Promise<Speed[]> {
  const product = async (n: number): Promise<number> => {
    const took = await seconds((a, b) => matmul(a!, b!), [[n, n], [n, n]], execution);
    return took < ENOUGH && n < 4096 ? product(2 * n) : (2 * n ** 3) / took / 1e9;
  };
  const convolution = async (channels: number): Promise<number> => {
    const shapes = [[1, channels, 64, 64], [channels, channels, 3, 3]];
    const took = await seconds((x, w) => conv2d(x!, w!, undefined, { padding: 1 }), shapes, execution);
    return took < ENOUGH && channels < 1280 ? convolution(2 * channels) : (2 * 9 * channels ** 2 * 64 * 64) / took / 1e9;
  };
  return [{ name: 'product', gflops: await product(256) }, { name: 'convolution 3 x 3', gflops: await convolution(40) }];
}

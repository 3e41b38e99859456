/** @file WebGPU gives the CPU's results, operator family by operator family, values and gradients. */
import { describe, expect, test } from 'vitest';
import { host, isFloat, sizeOf } from '../../src/graph/dtype.js';
import type { HostTensor, Shape } from '../../src/graph/dtype.js';
import { vjp } from '../../src/graph/grad.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { compile } from '../../src/runtime/compile.js';
import type { Device } from '../../src/runtime/device.js';
import type { Case } from '../graph/finite-differences.js';
import { FAMILIES } from './operator-families.js';
import { gpuEnvironment } from './webgpu-adapter.js';

const environment = gpuEnvironment();
if (environment) Object.assign(process.env, environment);

const list = (t: Tensor | readonly Tensor[]): readonly Tensor[] => (Array.isArray(t) ? t : [t as Tensor]);
const numbers = (name: string, shape: Shape): HostTensor => host(normal({ seed: 7, stream: name, step: 0 }, 0, sizeOf(shape)), shape);

/** All values of the cases and the gradients by all their inputs, as one computation with its feeds. */
function computation(cases: readonly Case[]): { outputs: Record<string, Tensor>; feeds: Record<string, HostTensor> } {
  const outputs: Record<string, Tensor> = {};
  const feeds: Record<string, HostTensor> = {};
  const fed = (name: string, value: HostTensor): Tensor => {
    feeds[name] = value;
    return input(name, value.shape, value.dtype);
  };
  for (const { name, inputs, f } of cases) {
    const xs = inputs.map((v, i) => fed(`${name}.${i}`, 'data' in v ? v : numbers(`${name}.${i}`, v)));
    const ys = list(f(...xs));
    const by = xs.filter((x) => isFloat(x.dtype));
    const gradients = vjp(ys, by, ys.map((y, i) => fed(`${name}.r${i}`, numbers(`${name}.r${i}`, y.shape))));
    ys.forEach((y, i) => (outputs[`${name}, value ${i}`] = y));
    gradients.forEach((dx, i) => (outputs[`${name}, gradient ${i}`] = dx));
  }
  return { outputs, feeds };
}

async function results(cases: readonly Case[], device: Device): Promise<Record<string, HostTensor>> {
  const { outputs, feeds } = computation(cases);
  const executable = await compile({ outputs }, { device, threads: 1 });
  const values = await executable.run(feeds);
  await executable.release();
  return values;
}

/** Of the largest number of a result. WGSL allows sines an error of 2⁻¹¹, and SwiftShader makes use of it. */
const TOLERANCES: Readonly<Record<string, number>> = { trigonometry: 2 ** -11, 'a block of a network': 1e-4 };

/** Where the devices' results differ by more than rounding. */
async function disagreements(cases: readonly Case[], tolerance: number): Promise<string[]> {
  const [cpu, gpu] = [await results(cases, 'cpu'), await results(cases, 'webgpu')];
  return Object.entries(cpu).flatMap(([name, { data }]) => {
    const [a, b] = [data as Float32Array, gpu[name]!.data as Float32Array];
    const scale = Math.max(...a.map(Math.abs), 1e-3);
    const error = Math.max(...a.map((v, i) => Math.abs(v - b[i]!))) / scale;
    return error < tolerance ? [] : [`${name}: off by ${error.toExponential(1)} of its largest number`];
  });
}

/** All families take SwiftShader 100 seconds, which compiles every kernel anew; `attune doctor` tries the known wrong ones. */
const chosen = Object.entries(FAMILIES).filter(([family]) => process.env['ATTUNE_WEBGPU'] === 'all' || family === 'norms');

describe.skipIf(!environment)('WebGPU agrees with the CPU', () => {
  test.each(chosen)('%s', async (family, cases) => {
    expect(await disagreements(cases, TOLERANCES[family] ?? 1e-5)).toEqual([]);
  });
});

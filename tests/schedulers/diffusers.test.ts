/** @file Every sampler against diffusers, step by step and in one run, through the configuration that diffusers had. */
import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { samplers } from '../../src/schedulers/index.js';
import type { Plan } from '../../src/schedulers/plan.js';
import { sample } from '../../src/schedulers/sample.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { predictX0, takeStep } from '../../src/schedulers/step.js';
import type { Call } from '../../src/schedulers/step.js';
import { loadFixture } from '../models/fixture.js';

interface Case {
  class: string;
  config: Record<string, unknown>;
  steps: number;
  eta?: number;
  order?: number;
}

const FILES = [
  'ddim', 'ddpm', 'euler', 'euler_ancestral', 'dpm', 'lcm', 'heun', 'lms', 'unipc', 'deis', 'dpm_single', 'tcd', 'dpm_more',
  'euler_more', 'sigmas', 'cosine',
];

/** The network of the fixtures (tools/reference/schedulers.py). */
const standIn = (x: Float32Array, t: number): Float32Array => x.map((v) => 0.7 * Math.tanh(v) + (0.1 * t) / 1000);

/** Row i of a fixture's [steps, 2, 4, 2, 2]. */
function row(tensor: HostTensor, i: number): Float32Array {
  const size = tensor.data.length / tensor.shape[0]!;
  return (tensor.data as Float32Array).slice(i * size, (i + 1) * size);
}

const largest = (values: Float32Array): number => Math.max(...values.map(Math.abs));

/** Largest difference, relative to the largest reference value where that is above 1. */
function error(actual: Float32Array, expected: Float32Array): number {
  return largest(actual.map((v, i) => v - expected[i]!)) / Math.max(1, largest(expected));
}

/** What diffusers' sample must be multiplied with: its Euler samplers keep x/√ā. */
function unitScales(plan: Plan, sigmas: HostTensor | undefined, perSigma: boolean): number[] {
  if (!perSigma) return Array<number>(plan.steps.length + 1).fill(1);
  return Array.from(sigmas!.data as Float32Array, (sigma) => 1 / Math.sqrt(1 + sigma ** 2));
}

describe.each(FILES)('%s', async (file) => {
  const fixture = await loadFixture(`scheduler_${file}`);
  const cases = Object.entries(fixture.meta['cases'] as Record<string, Case>);

  test.each(cases)('%s', async (name, { class: _class_name, config, steps, eta, order }) => {
    const read = readSchedulerConfig({ _class_name, ...config }, name);
    const plan = samplers[read.sampler].plan(read.process, steps, { ...read.options, eta, ...(order !== undefined && { order }) });
    const get = (key: string): HostTensor => fixture.get(`${name}/${key}`);
    const times = Array.from(get('timesteps').data as ArrayLike<number>, Number);
    // Times of given levels are interpolated in float32 logarithms there; whole ones must still be equal.
    if (read.options.sigmas && !times.every(Number.isInteger)) {
      plan.steps.forEach((s, i) => expect(Math.abs(s.timestep - times[i]!), `time ${i}`).toBeLessThan(1e-2));
    } else expect(plan.steps.map((s) => s.timestep)).toEqual(times);
    // ∇-DB's flow network looks at the time that a step leads to. DDIM's is its own stride away, by diffusers.
    const after = [...plan.steps.slice(1).map((s) => s.timestep), 0];
    if (read.sampler !== 'ddim') expect(plan.steps.map((s) => s.nextTimestep)).toEqual(after);

    const perSigma = /^(Euler|Heun|LMS)/.test(_class_name);
    const unit = unitScales(plan, fixture.tensors.get(`${name}/sigmas`), perSigma);
    const [xs, noises, x0s] = [get('x'), get('noise'), fixture.tensors.get(`${name}/x0`)];
    const toUnit = (i: number): Float32Array => row(xs, i).map((v) => v * unit[i]!);
    let past: Call<Float32Array>[] = [];
    for (const [i, step] of plan.steps.entries()) {
      const x = toUnit(i);
      const output = standIn(x, times[i]!);
      const next = takeStep(step, x, output, { noise: row(noises, i), past });
      // From σ = 4096 down, diffusers' own float32 sum loses as much as 2⁻²⁴ of the sample before.
      const [before, after] = [row(xs, i), row(xs, i + 1)];
      if (largest(row(noises, i)) === 0) expect(step.std, `diffusers draws nothing at step ${i}`).toBe(0);
      const lost = (2 ** -24 * largest(before)) / Math.max(1, largest(after));
      expect(error(next.map((v) => v / unit[i + 1]!), after), `step ${i}`).toBeLessThan(1e-5 + lost);
      const clean = predictX0(step, x, output);
      if (x0s) expect(error(clean, row(x0s, i)), `clean prediction of step ${i}`).toBeLessThan(1e-5);
      past = [{ x, clean }, ...past];
    }

    // In one run: the noise source gives the first sample, then the recorded draws.
    const size = xs.data.length / xs.shape[0]! / 2;
    const start = toUnit(0).map((v) => v / plan.initialStd);
    const result = await sample(
      (x, _step, i) => standIn(x, times[i]!),
      plan,
      (draw, item) => (draw === 0 ? start : row(noises, draw - 1)).slice(item * size, (item + 1) * size),
      [0, 1],
      size,
    );
    expect(error(result, toUnit(plan.steps.length)), 'whole run').toBeLessThan(1e-4);
  });

  const spacings = [...fixture.tensors.keys()].filter((k) => /^schedule_.*timesteps$/.test(k));
  test.each(spacings)('%s', (key) => {
    const [, spacing, steps] = /^schedule_(\w+)_(\d+)\//.exec(key)!;
    const config = { ...cases[0]![1].config, _class_name: cases[0]![1].class, timestep_spacing: spacing };
    const read = readSchedulerConfig(config, key);
    const plan = samplers[read.sampler].plan(read.process, Number(steps), read.options);
    const expected = Array.from(fixture.get(key).data as ArrayLike<number>, Number);
    expect(plan.steps.map((s) => s.timestep)).toEqual(expected);
    const sigmas = fixture.tensors.get(key.replace('timesteps', 'sigmas'));
    if (!sigmas) return;
    plan.steps.forEach(({ from, to }, i) => [from, to].forEach(({ signal, noise }, j) => {
      const sigma = Number(sigmas.data[i + j]);
      expect(Math.abs(noise / signal - sigma)).toBeLessThan(1e-6 * Math.max(1, sigma));
    }));
  });
});

describe('levels without an end: the cosine schedule begins above σ = 20,000, and only zero terminal SNR is capped', async () => {
  const fixture = await loadFixture('scheduler_cosine_levels');
  const classes = [...new Set([...fixture.tensors.keys()].map((key) => key.split('/')[0]!))];
  test.each(classes)('%s', (key) => {
    const [_class_name, timestep_spacing] = key.split('_');
    const config = { ...(fixture.meta['config'] as Record<string, unknown>), _class_name, timestep_spacing };
    const read = readSchedulerConfig(config, key);
    const { steps } = samplers[read.sampler].plan(read.process, 10, read.options);
    const sigmas = Array.from(fixture.get(`${key}/sigmas`).data as Float32Array);
    expect(sigmas[0]).toBeGreaterThan(20_000);
    steps.forEach(({ from, to }, i) => [from, to].forEach(({ signal, noise }, j) => {
      // Heun's corrections begin where they end.
      const sigma = _class_name === 'HeunDiscreteScheduler' && i % 2 === 1 ? sigmas[i]! : sigmas[i + j]!;
      expect(Math.abs(noise / signal - sigma)).toBeLessThan(2e-6 * Math.max(1, sigma));
    }));
  });
});

describe('trailing spacing rounds as NumPy, also where times fall on halves', async () => {
  const fixture = await loadFixture('scheduler_trailing');
  const { process, options } = readSchedulerConfig(
    { _class_name: 'DDIMScheduler', ...(fixture.meta['config'] as Record<string, unknown>) }, 'trailing');
  test.each([...fixture.tensors.keys()])('%s steps', (steps) => {
    const times = samplers.ddim.plan(process, Number(steps), options).steps.map((s) => s.timestep);
    expect(times).toEqual(Array.from(fixture.get(steps).data as ArrayLike<number>, Number));
  });
});

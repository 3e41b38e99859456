/** @file Every sampler against diffusers, step by step and in one run, through the configuration that diffusers had. */
import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { samplers } from '../../src/schedulers/index.js';
import type { Plan } from '../../src/schedulers/plan.js';
import { sample } from '../../src/schedulers/sample.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { predictClean, takeStep } from '../../src/schedulers/step.js';
import { loadFixture } from '../models/fixture.js';

interface Case {
  class: string;
  config: Record<string, unknown>;
  steps: number;
  eta?: number;
}

const FILES = ['ddim', 'ddpm', 'euler', 'euler_ancestral', 'dpm', 'lcm'];

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

  test.each(cases)('%s', async (name, { class: _class_name, config, steps, eta }) => {
    const read = readSchedulerConfig({ _class_name, ...config }, name);
    const plan = samplers[read.sampler].plan(read.schedule, steps, { ...read.options, eta });
    const get = (key: string): HostTensor => fixture.get(`${name}/${key}`);
    expect(plan.steps.map((s) => s.timestep)).toEqual(Array.from(get('timesteps').data as ArrayLike<number>, Number));

    const perSigma = file.startsWith('euler');
    const unit = unitScales(plan, fixture.tensors.get(`${name}/sigmas`), perSigma);
    const [xs, noises, x0s] = [get('x'), get('noise'), fixture.tensors.get(`${name}/x0`)];
    const toUnit = (i: number): Float32Array => row(xs, i).map((v) => v * unit[i]!);
    let previousClean: Float32Array | undefined;
    for (const [i, step] of plan.steps.entries()) {
      const x = toUnit(i);
      const output = standIn(x, step.timestep);
      const next = takeStep(step, x, output, { noise: row(noises, i), previousClean });
      // From σ = 4096 down, diffusers' own float32 sum loses as much as 2⁻²⁴ of the sample before.
      const [before, after] = [row(xs, i), row(xs, i + 1)];
      if (largest(row(noises, i)) === 0) expect(step.std, `diffusers draws nothing at step ${i}`).toBe(0);
      const lost = (2 ** -24 * largest(before)) / Math.max(1, largest(after));
      expect(error(next.map((v) => v / unit[i + 1]!), after), `step ${i}`).toBeLessThan(1e-5 + lost);
      previousClean = predictClean(step, x, output);
      if (x0s) expect(error(previousClean, row(x0s, i)), `clean prediction of step ${i}`).toBeLessThan(1e-5);
    }

    // In one run: the noise source gives the first sample, then the recorded draws.
    const size = xs.data.length / xs.shape[0]! / 2;
    const start = toUnit(0).map((v) => v / plan.initialStd);
    const result = await sample(
      (x, step) => standIn(x, step.timestep),
      plan,
      (draw, item) => (draw === 0 ? start : row(noises, draw - 1)).slice(item * size, (item + 1) * size),
      [0, 1],
      size,
    );
    expect(error(result, row(xs, steps)), 'whole run').toBeLessThan(1e-4);
  });

  const spacings = [...fixture.tensors.keys()].filter((k) => /^schedule_.*timesteps$/.test(k));
  test.each(spacings)('%s', (key) => {
    const [, spacing, steps] = /^schedule_(\w+)_(\d+)\//.exec(key)!;
    const config = { ...cases[0]![1].config, _class_name: cases[0]![1].class, timestep_spacing: spacing };
    const read = readSchedulerConfig(config, key);
    const plan = samplers[read.sampler].plan(read.schedule, Number(steps), read.options);
    const expected = Array.from(fixture.get(key).data as ArrayLike<number>, Number);
    expect(plan.steps.map((s) => s.timestep)).toEqual(expected);
    const sigmas = fixture.tensors.get(key.replace('timesteps', 'sigmas'));
    if (!sigmas) return;
    plan.steps.forEach(({ alphaBar, nextAlphaBar }, i) => [alphaBar, nextAlphaBar].forEach((bar, j) => {
      const sigma = Number(sigmas.data[i + j]);
      expect(Math.abs(Math.sqrt((1 - bar) / bar) - sigma)).toBeLessThan(1e-6 * Math.max(1, sigma));
    }));
  });
});

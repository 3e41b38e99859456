import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { grad } from '../../src/graph/grad.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { dpmSolver, dpmSolverSde } from '../../src/schedulers/dpm-solver-pp.js';
import { addNoise, predictionTarget } from '../../src/schedulers/forward-process.js';
import { samplers } from '../../src/schedulers/index.js';
import { isMultistep, predictX0, stepFeed, stepInput, takeStep, transitionMean } from '../../src/schedulers/step.js';
import { logProbability, score, stochasticSteps } from '../../src/schedulers/transition.js';
import { distance, sd15, wave } from './helpers.js';

const BATCH = 3;
const SHAPE = [BATCH, 2, 2, 3];
const ITEM = 12;
const SIZE = BATCH * ITEM;

type T = Tensor;
/** `given` is the stored sample x'. */
const NAMES = ['x', 'out', 'noise', 'given'] as const;

/** One compiled step: everything that the library computes from it. */
async function compiledStep() {
  const step = stepInput('step', BATCH);
  const [x, out, noise, given] = NAMES.map((name) => input(name, SHAPE)) as [T, T, T, T];
  const mean = transitionMean(step, x, out);
  const logProb = logProbability(step, given, mean);
  const [byOut, byX] = grad(sum(logProb), [out, x]);
  const level = { signal: step.x0FromX, noise: step.std };
  return compile({ outputs: {
    clean: predictX0(step, x, out), next: takeStep(step, x, out, { noise }), mean,
    logProb, total: logProbability(step, given, mean, 'sum'), score: score(step, given, mean), byOut: byOut!, byX: byX!,
    noisy: addNoise(level, x, noise), target: predictionTarget('v', level, x, noise), timestep: step.timestep,
  } }, { threads: 1 });
}

type Values = Record<(typeof NAMES)[number], Float32Array>;
const values = Object.fromEntries(NAMES.map((name, i) => [name, wave(SIZE, i)])) as Values;
const feeds = Object.fromEntries(NAMES.map((name) => [name, host(values[name], SHAPE)]));
const itemOf = (data: Float32Array, i: number): Float32Array => data.slice(i * ITEM, (i + 1) * ITEM);
const item = (i: number): Values =>
  Object.fromEntries(NAMES.map((name) => [name, itemOf(values[name], i)])) as Values;

test('one compiled graph serves every one-step sampler and step, items apart, and equals the array form', async () => {
  const exe = await compiledStep();
  const { process } = sd15();
  for (const [name, { plan, kinds }] of Object.entries(samplers)) {
    if (!kinds.some((kind) => kind === 'variance-preserving')) continue;
    const whole = plan(process, 6, { eta: 0.7, order: 1 });
    if (isMultistep(whole)) continue;
    const { steps } = whole;
    const chosen = [steps[0]!, steps[3]!, steps[4]!];
    const got = await exe.run({ ...feeds, step: stepFeed(chosen) });
    expect(Array.from(got.timestep.data, Number), name).toEqual(chosen.map((s) => Math.fround(s.timestep)));
    chosen.forEach((step, i) => {
      const { x, out, noise } = item(i);
      const part = (key: 'clean' | 'next' | 'noisy' | 'target'): Float32Array =>
        itemOf(got[key].data as Float32Array, i);
      const clean = predictX0(step, x, out);
      const scale = Math.max(1, ...clean.map(Math.abs));
      expect(distance(part('clean'), clean) / scale, name).toBeLessThan(1e-6);
      expect(distance(part('next'), takeStep(step, x, out, { noise })), name).toBeLessThan(3e-6);
      const level = { signal: step.x0FromX, noise: step.std };
      expect(distance(part('noisy'), addNoise(level, x, noise)) / scale, name).toBeLessThan(1e-6);
      expect(distance(part('target'), predictionTarget('v', level, x, noise)) / scale, name).toBeLessThan(1e-6);
    });
  }
  await exe.release();
});

test('log-probability, its gradients and the score equal their definitions', async () => {
  const exe = await compiledStep();
  const config = sd15();
  const plans = [
    ddim(config.process, 10, { ...config.options, eta: 1, lastStep: 'ddpo' }),
    dpmSolverSde(config.process, 10, { ...config.options, finalSigma: 'min' }),
  ];
  for (const { steps } of plans) {
    const chosen = [steps[2]!, steps[6]!, steps[9]!];
    const got = await exe.run({ ...feeds, step: stepFeed(chosen) });
    chosen.forEach((step, i) => {
      const { x, out, given } = item(i);
      // The definition, in float64 and with arrays.
      const mu = (x: ArrayLike<number>, out: ArrayLike<number>): number[] => Array.from(x, (_, k) =>
        step.meanFromX * x[k]! + step.meanFromOutput * out[k]!);
      const constant = Math.log(step.std) + Math.log(Math.sqrt(2 * Math.PI));
      const density = (x: ArrayLike<number>, out: ArrayLike<number>): number => mu(x, out).reduce((total, m, k) =>
        total - (given[k]! - m) ** 2 / (2 * step.std ** 2) - constant, 0) / ITEM;
      const expected = density(x, out);
      const tolerance = 1e-5 * Math.abs(expected);
      expect(Math.abs(Number(got.logProb.data[i]) - expected)).toBeLessThan(tolerance);
      expect(Math.abs(Number(got.total.data[i]) - ITEM * expected)).toBeLessThan(ITEM * tolerance);
      for (let k = 0; k < ITEM; k++) {
        const shifted = (a: Float32Array, by: number): Float64Array => Float64Array.from(a).with(k, a[k]! + by);
        const at = i * ITEM + k;
        const byOut = (density(x, shifted(out, 1e-4)) - density(x, shifted(out, -1e-4))) / 2e-4;
        const byX = (density(shifted(x, 1e-4), out) - density(shifted(x, -1e-4), out)) / 2e-4;
        expect(Math.abs(Number(got.byOut.data[at]) - byOut)).toBeLessThan(1e-4 * Math.max(1, Math.abs(byOut)));
        expect(Math.abs(Number(got.byX.data[at]) - byX)).toBeLessThan(1e-4 * Math.max(1, Math.abs(byX)));
        const slope = (mu(x, out)[k]! - given[k]!) / step.std ** 2;
        expect(Math.abs(Number(got.score.data[at]) - slope)).toBeLessThan(1e-5 * Math.max(1, Math.abs(slope)));
      }
    });
  }
  await exe.release();
});

test('coefficients may also be plain numbers in a graph', async () => {
  const step = ddim(sd15().process, 10, { eta: 1 }).steps[4]!;
  const [x, out, noise] = [input('x', SHAPE), input('out', SHAPE), input('noise', SHAPE)];
  const mean = transitionMean(step, x, out);
  const next = takeStep(step, x, out, { noise });
  const logProb = logProbability(step, next, mean);
  const [byOut] = grad(sum(logProb), [out]);
  const exe = await compile({ outputs: { next, logProb, byOut: byOut! } }, { threads: 1 });
  const got = await exe.run(feeds);
  const expected = takeStep(step, values.x, values.out, { noise: values.noise });
  expect(distance(got.next.data, expected)).toBeLessThan(2e-6);
  // x' = μ + σz has log-probability −z²/2 − log σ − log √(2π).
  const z2 = itemOf(values.noise, 1).reduce((total, z) => total + z * z, 0) / ITEM;
  const density = -z2 / 2 - Math.log(step.std) - 0.5 * Math.log(2 * Math.PI);
  expect(Math.abs(Number(got.logProb.data[1]) - density)).toBeLessThan(1e-4);
  // x' is held fixed: the gradient does not vanish although x' moves along with μ.
  const slopes = values.noise.map((z) => ((z / step.std) * step.meanFromOutput) / ITEM);
  expect(distance(got.byOut.data, slopes)).toBeLessThan(1e-5);
  await exe.release();
});

test('a missing extra, or a step without density, is an error that says so', () => {
  const { process } = sd15();
  const second = dpmSolver(process, 10).steps[3]!;
  expect(() => transitionMean(second, values.x, values.out)).toThrow(/order 1/);
  const noisy = ddim(process, 10, { eta: 1 });
  expect(() => takeStep(noisy.steps[0]!, values.x, values.out)).toThrow(/noise/);
  expect(() => takeStep(noisy.steps[0]!, values.x, values.out.slice(1), { noise: values.noise })).toThrow(/36 and 35/);
  expect(() => stochasticSteps(ddim(process, 10))).toThrow(/none of the 10 steps.*eta/);
  const all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  expect(stochasticSteps(dpmSolverSde(process, 10))).toEqual(all.slice(0, 9));
  expect(stochasticSteps(dpmSolverSde(process, 10, { finalSigma: 'min' }))).toEqual(all);
  expect(stochasticSteps(ddim({ ...process, finalAlphaCumprod: 1 }, 10, { eta: 1, stepsOffset: 1, lastStep: 'ddpo' }))).toEqual(all);
  expect(isMultistep(dpmSolver(process, 10))).toBe(true);
  expect(isMultistep(dpmSolver(process, 10, { order: 1 }))).toBe(false);
});

test('first order SDE-DPM-Solver++ is the formula of algorithms.md §1.7(5)', () => {
  const config = sd15();
  for (const step of dpmSolverSde(config.process, 8, { ...config.options, order: 1, finalSigma: 'min' }).steps) {
    const { from, to } = step;
    const h = Math.log(to.signal / to.noise) - Math.log(from.signal / from.noise);
    const gain = to.signal * (1 - Math.exp(-2 * h));
    expect(step.meanFromX).toBeCloseTo((to.noise / from.noise) * Math.exp(-h) + gain / from.signal, 10);
    expect(step.meanFromOutput).toBeCloseTo((-gain * from.noise) / from.signal, 10);
    expect(step.std).toBeCloseTo(to.noise * Math.sqrt(1 - Math.exp(-2 * h)), 10);
  }
});

test('linear-Gaussian oracle: the variance that the sampler gives to data N(0, I) (algorithms.md §1.4)', () => {
  const config = sd15();
  // The exact denoiser is ε = √(1−ā)·x, so that each step scales x and adds noise.
  const variance = (steps: number, sampler: keyof typeof samplers, options: object): number =>
    samplers[sampler].plan(config.process, steps, { ...config.options, ...options }).steps.reduce((v, step) => {
      const scale = step.meanFromX + step.meanFromOutput * step.from.noise;
      return scale ** 2 * v + step.std ** 2;
    }, 1);
  const ddpo = { eta: 1, lastStep: 'ddpo' };
  expect(variance(50, 'ddim', ddpo)).toBeCloseTo(0.8943, 4);
  // 500 steps of `leading` spacing with offset 1: 999, 997, … 1.
  expect(variance(500, 'ddim', ddpo)).toBeCloseTo(0.9861, 4);
  // All others converge to the data as well.
  for (const sampler of ['ddim', 'ddpm', 'euler', 'euler-a', 'dpm++2m', 'dpm++2m-sde'] as const) {
    expect(Math.abs(variance(400, sampler, { spacing: 'trailing', order: 1 }) - 1), sampler).toBeLessThan(0.03);
  }
});

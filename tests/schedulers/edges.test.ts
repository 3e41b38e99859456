/** @file Where samplers begin and end, what they do by default, and their formulas at the edges; each kills a mutant that other tests let live. */
import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';
import { rescaleZeroTerminalSnr, makeBetas, cumulativeAlphas } from '../../src/schedulers/noise-schedule.js';
import { combine } from '../../src/schedulers/linear.js';
import { samplers } from '../../src/schedulers/index.js';
import type { SamplerName } from '../../src/schedulers/index.js';
import { makeStep } from '../../src/schedulers/plan.js';
import type { Plan, SamplerOptions } from '../../src/schedulers/plan.js';
import { levelAt, sigmaAt } from '../../src/schedulers/process.js';
import type { RectifiedFlow, VariancePreserving } from '../../src/schedulers/process.js';
import { schedulerWarnings } from '../../src/schedulers/scheduler-config.js';
import { toX0 } from '../../src/schedulers/step.js';
import { lateStart } from '../../src/schedulers/timesteps.js';
import { score, stochasticSteps } from '../../src/schedulers/transition.js';
import { sd15 } from './helpers.js';

const { process } = sd15();
const flow: RectifiedFlow = { kind: 'rectified-flow', predictionType: 'flow' };
const VP = (Object.keys(samplers) as SamplerName[]).filter((name) => !name.startsWith('flow-'));
const plan = (name: SamplerName, steps: number, options: SamplerOptions = {}): Plan => samplers[name].plan(process, steps, options);
const times = (p: Plan): number[] => p.steps.map((s) => s.timestep);

describe.each(VP)('%s', (name) => {
  test('begins with variance 1 or that of its noise level, and ends at time 0', () => {
    const { initialStd, steps } = plan(name, 4);
    const inSigmas = ['euler', 'euler-a', 'heun', 'lms'].includes(name);
    expect(Math.abs(initialStd - 1)).toBeLessThan(inSigmas ? 0.01 : 1e-12);
    expect(steps.at(-1)!.nextTimestep).toBe(0);
    for (const [i, s] of steps.slice(1).entries()) if (name !== 'heun') expect(steps[i]!.nextTimestep).toBe(s.timestep);
  });
});

/** What an option is where it is not given, and another value that makes another plan. */
const DEFAULTS: [SamplerName, SamplerOptions, SamplerOptions][] = [
  ['ddim', { spacing: 'leading', stepsOffset: 0, eta: 0, lastStep: 'diffusers' }, { stepsOffset: 1 }],
  ['ddpm', { spacing: 'leading', stepsOffset: 0, variance: 'small' }, { stepsOffset: 1 }],
  ['euler', { spacing: 'linspace', stepsOffset: 0, sigmas: 'plain', finalSigma: 'zero' }, { spacing: 'leading' }],
  ['lms', { spacing: 'linspace', stepsOffset: 0, order: 4 }, { order: 3 }],
  ['dpm++2m', { order: 2, solverType: 'midpoint', lowerOrderFinal: true, eulerAtFinal: false, finalSigma: 'zero' }, { order: 3 }],
  ['dpm++2s', { order: 2, solverType: 'midpoint', lowerOrderFinal: false, finalSigma: 'zero' }, { order: 3 }],
  ['unipc', { order: 2, solverType: 'bh2', lowerOrderFinal: true, finalSigma: 'zero' }, { order: 3 }],
  ['deis', { order: 2, lowerOrderFinal: true }, { order: 3 }],
  ['lcm', { originalSteps: 50, timestepScaling: 10 }, { timestepScaling: 0.01 }],
  ['tcd', { originalSteps: 50, eta: 0.3 }, { eta: 0.4 }],
];

test.each(DEFAULTS)('%s by default', (name, defaults, other) => {
  expect(plan(name, 5)).toEqual(plan(name, 5, defaults));
  expect(plan(name, 5)).not.toEqual(plan(name, 5, other));
});

test('an offset is 0 unless given, of every spacing that has one', () => {
  for (const name of ['euler', 'dpm++2m'] as const) expect(plan(name, 5, { spacing: 'leading' })).toEqual(plan(name, 5, { spacing: 'leading', stepsOffset: 0 }));
});

test('from 15 steps on a solver does not end on lower orders', () => {
  for (const name of ['dpm++2m', 'deis'] as const) {
    const differs = (steps: number): boolean => {
      const [few, all] = [true, false].map((lowerOrderFinal) => plan(name, steps, { order: 3, finalSigma: name === 'deis' ? undefined : 'min', lowerOrderFinal } as SamplerOptions));
      return JSON.stringify(few) !== JSON.stringify(all);
    };
    expect([differs(14), differs(15)]).toEqual([true, false]);
  }
});

test('DPM-Solver goes no higher than order 3', () => {
  expect(plan('dpm++2m', 20, { order: 4 })).toEqual(plan('dpm++2m', 20, { order: 3 }));
  expect(plan('dpm++2s', 20, { order: 4 })).toEqual(plan('dpm++2s', 20, { order: 3 }));
  expect(plan('unipc', 20, { order: 4 })).toEqual(plan('unipc', 20, { order: 3 }));
});

describe('times', () => {
  test('linspace takes two steps', () => expect(times(plan('euler', 2))).toEqual([999, 0]));
  test('a solver has one time less than there are', () => {
    expect(plan('dpm++2m', 999).steps).toHaveLength(999);
    expect(() => plan('dpm++2m', 1000)).toThrow('from 1 to 999');
  });
  test('of consistency models: up to all of the distillation, in whole strides', () => {
    expect(times(plan('lcm', 50)).slice(-2)).toEqual([39, 19]);
    expect(times(plan('lcm', 1, { originalSteps: 1000 }))).toEqual([999]);
    expect(times(plan('lcm', 1, { originalSteps: 48 }))).toEqual([48 * 20 - 1]);
    expect(() => plan('lcm', 51)).toThrow(/to the 50 of its/);
    expect(() => plan('lcm', 1, { originalSteps: 1001 })).toThrow(/at most 1000/);
  });
  test('a start in the clean half is told', () => {
    expect(lateStart(process, 499)).toBeNull();
    expect(lateStart(process, 498)).toMatch(/^sampling begins at time 498 of 999, /);
  });
});

describe('noise levels', () => {
  const sigmas = (name: SamplerName, steps: number, options: SamplerOptions): number[] =>
    plan(name, steps, { sigmas: 'karras', ...options }).steps.map(({ from }) => from.noise / from.signal);
  test('two of a spread are its ends, and one is its beginning', () => {
    for (const kind of ['karras', 'exponential', 'lu', 'beta'] as const) {
      const [first, last] = sigmas('dpm++2m', 2, { sigmas: kind, sigmaMax: 12, sigmaMin: 0.25 });
      expect([first, last].map((s) => s!.toFixed(6))).toEqual(['12.000000', '0.250000']);
    }
    expect(sigmas('dpm++2m', 1, { sigmaMax: 12, sigmaMin: 12 })[0]).toBeCloseTo(12, 9);
    expect(() => sigmas('dpm++2m', 2, { sigmaMax: 12, sigmaMin: 12 })).toThrow(/no range/);
  });
  test('Euler spreads between the times of its spacing, solvers over all', () => {
    expect(sigmas('euler', 5, { spacing: 'leading' })[0]).toBeCloseTo(sigmaAt(process, 800), 5);
    expect(sigmas('dpm++2m', 5, { spacing: 'leading' })[0]).toBeCloseTo(sigmaAt(process, 999), 5);
  });
  test('the noisiest of a schedule without signal has none, exactly', () => {
    const zero: VariancePreserving = { ...process, alphasCumprod: cumulativeAlphas(rescaleZeroTerminalSnr(makeBetas('scaled_linear', 1000, 0.00085, 0.012))) };
    expect(levelAt(zero, 999)).toEqual({ signal: 0, noise: 1 });
  });
});

describe('flows', () => {
  test('each step leads to where the next begins, and the last to 0', () => {
    for (const name of ['flow-euler', 'flow-sde', 'ddim'] as const) {
      const { initialStd, steps } = samplers[name].plan(flow, 4, { spacing: 'trailing' });
      expect(initialStd).toBe(1);
      expect(steps.map((s) => s.nextTimestep)).toEqual([750, 500, 250, 0]);
    }
    expect(samplers.ddim.plan(flow, 4)).toEqual(samplers.ddim.plan(flow, 4, { eta: 0, shift: 1, spacing: 'linspace' }));
    expect(samplers['flow-sde'].plan(flow, 4)).toEqual(samplers['flow-sde'].plan(flow, 4, { sdeNoise: 0.7 }));
  });
  test('as many steps as training times, and the noisy ones alone have a density', () => {
    expect(samplers['flow-euler'].plan(flow, 1000).steps).toHaveLength(1000);
    expect(() => samplers['flow-euler'].plan(flow, 1001)).toThrow('from 1 to 1000');
    expect(stochasticSteps(samplers['flow-sde'].plan(flow, 4))).toEqual([0, 1, 2]);
    expect(stochasticSteps(samplers['flow-sde'].plan(flow, 2))).toEqual([0]);
  });
});

test('the step to x̂0', () => {
  const step = plan('dpm++2m', 4).steps[2]!;
  expect(toX0(step)).toEqual({ ...step, nextTimestep: 0, to: { signal: 1, noise: 0 }, meanFromX: step.x0FromX, meanFromOutput: step.x0FromOutput, past: [], std: 0 });
});

test('a step keeps a past of which any part counts', () => {
  const { x0FromX, x0FromOutput, ...at } = plan('ddim', 4).steps[0]!;
  const past = (x: number, clean: number): unknown => makeStep(at, { x0FromX, x0FromOutput }, { keep: 1, clean: 1, past: [{ x, clean }] }).past;
  expect([past(1, 0), past(0, 1), past(0, 0)]).toEqual([[{ x: 1, clean: 0 }], [{ x: 0, clean: 1 }], undefined]);
});

test('tensors whose coefficients are all 0 add up to zeros; the score of a step whose deviation is a number', async () => {
  const [x, mean] = [input('x', [2]), input('mean', [2])];
  const graph = await compile({
    inputs: [x, mean], outputs: { zero: combine([0, x], [0, mean]), score: score({ ...plan('ddim', 4).steps[0]!, std: 0.5 }, x, mean) },
  });
  const { zero, score: at } = await graph.run({ x: host(Float32Array.of(1, 2), [2]), mean: host(Float32Array.of(2, 4), [2]) });
  await graph.release();
  expect([[...zero!.data as Float32Array], [...at!.data as Float32Array]]).toEqual([[0, 0], [4, 8]]);
  expect(() => combine([x as never, new Float32Array(1)])).toThrow(/take numbers/);
});

describe('what is told of a file', () => {
  test('unknown keys up to eight, then their number', () => {
    const keys = (n: number): Record<string, number> => Object.fromEntries(Array.from({ length: n }, (_, i) => [`key_${i}`, i + 1]));
    expect(sd15(keys(8)).warnings).toHaveLength(8);
    expect(sd15(keys(10)).warnings.slice(8)).toEqual(['and 2 more']);
  });
  test('what is off is nothing to tell of', () => {
    expect(sd15({ solver_p: null, disable_corrector: [], variance_type: null, timestep_spacing: null }).warnings).toEqual([]);
    expect(sd15({ disable_corrector: [0] }).warnings).toEqual(['"disable_corrector": [0] is not done']);
  });
  test('values of a kind are its own', () => {
    expect(sd15({ steps_offset: undefined }).options).toEqual({ stepsOffset: 0 });
    expect(sd15({ variance_type: 'fixed_small', final_sigmas_type: 'zero' }).options).toMatchObject({ variance: 'small', finalSigma: 'zero' });
    expect(sd15({ variance_type: 'fixed_large' }).options).toMatchObject({ variance: 'large' });
    const sde = { algorithm_type: 'sde-dpmsolver++' };
    expect(sd15({ ...sde, _class_name: 'DPMSolverSinglestepScheduler' }).warnings).toEqual(['"algorithm_type": "sde-dpmsolver++" is not done singlestep']);
    expect(sd15({ ...sde, _class_name: 'DPMSolverMultistepScheduler' }).warnings).toEqual([]);
  });
  test('another sampler in the place of the file\'s is told unless the user chose', () => {
    const config = { ...sd15({ _class_name: 'SASolverScheduler', a: 1 }) };
    expect(schedulerWarnings(config, 'f', false)).toEqual(['f: "a": 1 is not done', expect.stringMatching(/^f: SASolverScheduler is not among/)]);
    expect(schedulerWarnings(config, 'f', true)).toEqual(['f: "a": 1 is not done']);
    expect(schedulerWarnings(sd15(), 'f', false)).toEqual([]);
  });
});

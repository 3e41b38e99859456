import { describe, expect, test } from 'vitest';
import { FormatError } from '../../src/formats/errors.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { addNoise, predictionTarget } from '../../src/schedulers/forward-process.js';
import { vpLevel } from '../../src/schedulers/process.js';
import type { VariancePreserving } from '../../src/schedulers/process.js';
import { samplers } from '../../src/schedulers/index.js';
import { SamplingError } from '../../src/schedulers/errors.js';
import { readVpConfig, schedulerWarnings } from '../../src/schedulers/scheduler-config.js';
import { loadFixture } from '../models/fixture.js';
import { distance, SD15, sd15 } from './helpers.js';

describe('noise schedules', async () => {
  const fixture = await loadFixture('scheduler_noise');
  const cases = Object.entries(fixture.meta['cases'] as Record<string, Record<string, unknown>>);
  const floats = (key: string): Float32Array => fixture.get(key).data as Float32Array;

  test.each(cases)('%s: ā is that of torch; noise and velocity agree', (name, config) => {
    const { process } = readVpConfig({ _class_name: 'DDPMScheduler', clip_sample: false, ...config }, name);
    const expected = floats(`${name}/alphas_cumprod`);
    // Bit for bit, unless cosines and float32 roots come in, which differ in the last digit between libraries.
    if (name === 'sd15' || name === 'linear') expect(process.alphasCumprod).toEqual(Float64Array.from(expected));
    else expect(distance(process.alphasCumprod, expected)).toBeLessThan(2.5e-7);

    Array.from(fixture.get(`${name}/t`).data as BigInt64Array, Number).forEach((t, i) => {
      const item = (key: string): Float32Array => floats(`${name}/${key}`).slice(16 * i, 16 * (i + 1));
      const level = vpLevel(process.alphasCumprod[t]!);
      expect(distance(addNoise(level, item('x0'), item('noise')), item('noisy'))).toBeLessThan(1e-6);
      const velocity = predictionTarget('v', level, item('x0'), item('noise'));
      expect(distance(velocity, item('velocity'))).toBeLessThan(1e-6);
    });
  });

  test('SD 1.5 has the published values (algorithms.md §0.4)', () => {
    const { process, sampler, options } = sd15();
    const published: [number, number][] = [[0, 0.99914998], [1, 0.99829602], [21, 0.98038071], [481, 0.30229557],
      [981, 0.005775489], [999, 0.00466009]];
    for (const [t, value] of published) expect(Math.abs(process.alphasCumprod[t]! / value - 1)).toBeLessThan(2e-6);
    expect(process.finalAlphaCumprod).toBe(process.alphasCumprod[0]);
    expect(sampler).toBe('ddim');
    const times = ddim(process, 50, options).steps.map((s) => s.timestep);
    expect(times).toEqual(Array.from({ length: 50 }, (_, i) => 981 - 20 * i));
    const { signal, noise } = vpLevel(process.alphasCumprod[999]!);
    expect((signal / noise) ** 2).toBeCloseTo(0.0046819, 6);
  });

  test('zero terminal SNR leaves no signal at the last time, and noise prediction is refused there', () => {
    const zero = { rescale_betas_zero_snr: true, timestep_spacing: 'trailing' };
    const { process, options } = sd15({ ...zero, prediction_type: 'v_prediction' });
    expect(process.alphasCumprod[999]).toBe(0);
    for (const { plan, kinds } of Object.values(samplers)) {
      if (!kinds.some((kind) => kind === 'variance-preserving')) continue;
      const { steps } = plan(process, 5, { ...options, eta: 1 });
      const numbers = steps.flatMap(({ past = [], from, to, ...s }) => [s, from, to, ...past].flatMap((part) => Object.values(part)));
      expect(numbers.every(Number.isFinite)).toBe(true);
    }
    const noisy = sd15(zero);
    expect(() => ddim(noisy.process, 5, noisy.options)).toThrow(SamplingError);
  });
});

test('DDIM coefficients at 50 steps and η = 1 equal the table of algorithms.md §0.4', () => {
  // t, p, ā_t, σ, ∂μ/∂x, ∂μ/∂ε, c²/σ⁴, σ²/c
  const table = [
    [1, 0, 0.998296028, 0.02064832, 1.000427623, -0.020714166, 2360.46, -0.0205827],
    [21, 1, 0.980380748, 0.039479546, 1.009095535, -0.129287136, 6880.53, -0.0120556],
    [41, 21, 0.960872788, 0.099887309, 1.01010016, -0.101611317, 103.715, -0.0981926],
    [61, 41, 0.939782969, 0.119421703, 1.011158325, -0.090441226, 40.2161, -0.157689],
    [101, 81, 0.892980537, 0.14280856, 1.01343601, -0.081598174, 16.0083, -0.249936],
    [201, 181, 0.752143402, 0.184892202, 1.0200811, -0.079876929, 5.45969, -0.427972],
    [401, 381, 0.422881524, 0.25902207, 1.037552941, -0.097075605, 2.0935, -0.691136],
    [601, 581, 0.159816437, 0.329845703, 1.060866966, -0.128998183, 1.4058, -0.843409],
    [801, 781, 0.036546525, 0.397314933, 1.090440205, -0.176637153, 1.25206, -0.893692],
    [981, 961, 0.0057755, 0.454463272, 1.122851701, -0.232935777, 1.27197, -0.886669],
  ];
  // The table was computed in float64 throughout.
  const [low, high] = [Math.sqrt(0.00085), Math.sqrt(0.012)];
  let product = 1;
  const alphasCumprod = Float64Array.from({ length: 1000 }, (_, i) =>
    (product *= 1 - (low + ((high - low) * i) / 999) ** 2));
  const exact: VariancePreserving = { kind: 'variance-preserving', alphasCumprod, finalAlphaCumprod: 1, predictionType: 'epsilon' };
  const options = { stepsOffset: 1, eta: 1, lastStep: 'ddpo' } as const;
  const { steps } = ddim(exact, 50, options);
  const rounded = ddim(sd15().process, 50, options).steps;
  for (const [t, p, alphaBar, sigma, dx, c, weight, shift] of table as [number, ...number[]][]) {
    const step = steps.find((s) => s.timestep === t)!;
    const { nextTimestep, meanFromX, meanFromOutput, std } = step;
    expect(nextTimestep).toBe(p);
    const columns = [step.from.signal ** 2, std, meanFromX, meanFromOutput, meanFromOutput ** 2 / std ** 4, std ** 2 / meanFromOutput];
    const expected = [alphaBar, sigma, dx, c, weight, shift];
    columns.forEach((v, i) => {
      // The table has 6 to 10 digits.
      const digits = i < 4 ? 1e-6 : 5e-6;
      expect(Math.abs(v / expected[i]! - 1), `t ${t}, column ${i}`).toBeLessThan(digits);
    });
    // With the float32 ā that is really used, only what depends on 1 − ā_0 is less exact.
    const float32 = rounded.find((s) => s.timestep === t)!;
    for (const key of ['std', 'meanFromX', 'meanFromOutput'] as const) {
      expect(Math.abs(float32[key] - step[key]), `float32 ${key} at ${t}`).toBeLessThan(1e-6);
    }
  }
});

test('Euler begins with the noise that diffusers calls init_noise_sigma', () => {
  const { process } = sd15();
  const sigma = (spacing: 'leading' | 'linspace'): number => {
    const { initialStd, steps } = samplers.euler.plan(process, 20, { spacing, stepsOffset: 1 });
    return initialStd / steps[0]!.from.signal;
  };
  expect(sigma('linspace')).toBeCloseTo(14.6146, 4);
  // √(σ² + 1) = 1/√ā at the first time, 951.
  expect(sigma('leading')).toBeCloseTo(1 / Math.sqrt(process.alphasCumprod[951]!), 9);
});

test('the boundary condition of LCM: c_skip and c_out', () => {
  // One step at t = 999 with s = 0.001·999.
  const step = samplers.lcm.plan(sd15({ prediction_type: 'sample' }).process, 1, { timestepScaling: 0.001 }).steps[0]!;
  expect(step.x0FromX).toBeCloseTo(0.25 / (0.999 ** 2 + 0.25), 12);
  expect(step.x0FromOutput).toBeCloseTo(0.999 / Math.sqrt(0.999 ** 2 + 0.25), 12);
  expect(step.std).toBe(0);
});

describe('scheduler_config.json', () => {
  test('the configurations that checkpoints ship are understood', () => {
    const sdxl = { ...SD15, _class_name: 'EulerDiscreteScheduler', interpolation_type: 'linear', sample_max_value: 1,
      prediction_type: 'epsilon', timestep_spacing: 'leading', use_karras_sigmas: false };
    const leading = { spacing: 'leading', stepsOffset: 1 };
    expect(readVpConfig(sdxl, 'f')).toMatchObject({ sampler: 'euler', options: leading });
    const turbo = { ...sdxl, _class_name: 'EulerAncestralDiscreteScheduler', timestep_spacing: 'trailing',
      sigma_min: null, sigma_max: null, timestep_type: 'discrete', rescale_betas_zero_snr: false };
    expect(readVpConfig(turbo, 'f').sampler).toBe('euler-a');
    const tiny = { ...SD15, _class_name: 'DPMSolverMultistepScheduler', algorithm_type: 'sde-dpmsolver++',
      solver_order: 2, solver_type: 'midpoint', lower_order_final: true, lambda_min_clipped: -Infinity,
      thresholding: false, dynamic_thresholding_ratio: 0.995, variance_type: null, final_sigmas_type: 'sigma_min' };
    const second = { order: 2, finalSigma: 'min' };
    expect(readVpConfig(tiny, 'f')).toMatchObject({ sampler: 'dpm++2m-sde', options: second });
    const lcm = { _class_name: 'LCMScheduler', original_inference_steps: 40, timestep_scaling: 5 };
    expect(readVpConfig(lcm, 'f').options).toMatchObject({ originalSteps: 40, timestepScaling: 5 });
  });

  test.each([
    ['flow matching', { _class_name: 'FlowMatchEulerDiscreteScheduler', beta_schedule: undefined }, /"_class_name": "FlowMatch/],
    ['no scheduler and no noise schedule', { _class_name: undefined, beta_start: undefined }, /"_class_name": missing/],
    ['flow sigmas', { _class_name: 'UniPCMultistepScheduler', use_flow_sigmas: true }, /"use_flow_sigmas": true/],
    ['EDM', { _class_name: 'EulerDiscreteScheduler', timestep_type: 'continuous', prediction_type: 'v_prediction' }, /EDM/],
    ['another prediction', { prediction_type: 'flow_prediction' }, /"prediction_type": "flow_prediction"/],
    ['another noise schedule', { beta_schedule: 'sigmoid' }, /"beta_schedule": "sigmoid"/],
    ['a wild size', { num_train_timesteps: 1e12 }, /"num_train_timesteps"/],
  ])('%s is an error that names the key', (_, change, message) => {
    const read = (): unknown => readVpConfig(JSON.parse(JSON.stringify({ ...SD15, ...change })), 'f.json');
    expect(read).toThrow(FormatError);
    expect(read).toThrow(message);
  });

  test.each([
    ['an unknown key', { shiny: 1 }, ['"shiny": 1 is not done']],
    ['an unknown key that is off', { shiny: false, timestep_values: null, disable_corrector: [], solver_p: null }, []],
    ['clipping', { clip_sample: true }, ['"clip_sample": true is not done']],
    ['clipping by default', { _class_name: 'DDIMScheduler', clip_sample: undefined },
      ['"clip_sample" is missing, which means true, and is not done']],
    ['a wrong value', { timestep_spacing: 'odd', solver_order: 9 },
      ['"timestep_spacing": "odd" is not known and left out', '"solver_order": 9 is not known and left out']],
    ['what only other classes read', { predict_x0: true, solver_type: 'bh2', use_karras_sigmas: true, skip_prk_steps: true }, []],
    ['prediction of noise inside the solver', { _class_name: 'UniPCMultistepScheduler', predict_x0: false }, ['"predict_x0": false is not done']],
    ['a clip that cuts something off', { lambda_min_clipped: -2 }, ['"lambda_min_clipped": -2 is not done: the noisiest times are visited too']],
    ['a clip that cuts nothing off', { lambda_min_clipped: -5.1 }, []],
  ])('%s: taken what is known, told what is not', (_, change, warnings) => {
    const json = JSON.parse(JSON.stringify({ ...SD15, ...change })) as Record<string, unknown>;
    const read = readVpConfig(json, 'f.json');
    expect(read.warnings).toEqual(warnings);
    expect(read.process).toEqual(sd15().process);
    expect(read.instead).toBeNull();
  });

  test('any number of unknown keys is read at once, and told in a line', () => {
    const keys = Array.from({ length: 20_000 }, (_, i) => `key${i}`);
    const config = sd15({ ...Object.fromEntries(keys.map((key) => [key, 1])), _use_default_values: keys.slice(10_000) });
    const [line] = schedulerWarnings(config, 'f.json', true);
    expect(line).toMatch(/^f\.json: "key0": 1 is not done; .*; and 9992 more$/);
    expect(line!.length).toBeLessThan(400);
  });

  test('an unknown class: DDIM by its noise schedule, and told so', () => {
    const read = sd15({ _class_name: 'KDPM2DiscreteScheduler' });
    expect(read).toMatchObject({ sampler: 'ddim', warnings: [], instead: expect.stringMatching(/KDPM2Disc.*ddim.*instead/) });
    expect(read.process.alphasCumprod).toEqual(sd15().process.alphasCumprod);
  });

  test('a copy by Flax, and PNDM that says nothing of its end', () => {
    expect(sd15({ _class_name: 'FlaxDDIMScheduler' })).toMatchObject({ sampler: 'ddim', instead: null });
    const end = (name: string): number => sd15({ _class_name: name, set_alpha_to_one: undefined }).process.finalAlphaCumprod;
    expect(end('DDIMScheduler')).toBe(1);
    expect(end('PNDMScheduler')).toBe(sd15().process.alphasCumprod[0]);
  });

  test.each(['EDMEulerScheduler', 'FlowMatchHeunDiscreteScheduler', 'FlowMatchEulerDiscreteScheduler'])('%s is another process, whatever betas are left in its file', (_class_name) => {
    expect(() => sd15({ _class_name })).toThrow(`json: "_class_name": "${_class_name}" is of another noise process`);
  });
  test('a file that names no class', () => {
    expect(sd15({ _class_name: undefined }).instead).toMatch(/^the sampler that it does not name/);
  });
  test('values that were only the defaults of the class that wrote the file are not taken', () => {
    const kept = { timestep_spacing: 'leading', steps_offset: 1, _use_default_values: ['timestep_spacing', 'beta_end'] };
    const { options, process } = sd15({ ...kept, _class_name: 'EulerDiscreteScheduler' });
    expect(options).toEqual({ stepsOffset: 1 });
    expect(process.alphasCumprod).toEqual(sd15({ beta_end: 0.02 }).process.alphasCumprod);
  });

  test('what solvers read', () => {
    const all = { _class_name: 'DPMSolverMultistepScheduler', use_karras_sigmas: true, sigma_min: 0.03, sigma_max: 12, solver_order: 3,
      solver_type: 'heun', lower_order_final: false, euler_at_final: true, final_sigmas_type: 'sigma_min' };
    expect(sd15(all).options).toEqual({ stepsOffset: 1, sigmas: 'karras', sigmaMin: 0.03, sigmaMax: 12, order: 3,
      solverType: 'heun', lowerOrderFinal: false, eulerAtFinal: true, finalSigma: 'min' });
    const names = { HeunDiscreteScheduler: 'heun', LMSDiscreteScheduler: 'lms', UniPCMultistepScheduler: 'unipc',
      DEISMultistepScheduler: 'deis', DPMSolverSinglestepScheduler: 'dpm++2s', TCDScheduler: 'tcd' };
    for (const [_class_name, sampler] of Object.entries(names)) expect(sd15({ _class_name }).sampler).toBe(sampler);
  });
});

describe('wrong use', () => {
  const { process } = sd15();
  test.each([0, 1001, 2.5, NaN])('%s steps', (steps) => {
    for (const { plan } of Object.values(samplers)) expect(() => plan(process, steps)).toThrow(SamplingError);
  });
  test('times past the last training time, and a single step of linspace', () => {
    expect(() => ddim(process, 1000, { stepsOffset: 1 })).toThrow(/begin at time 1000/);
    expect(() => samplers.euler.plan(process, 1)).toThrow(/trailing/);
  });
  test('a range of noise levels that is none', () => {
    const options = { sigmas: 'karras', sigmaMin: 2, sigmaMax: 2 } as const;
    for (const name of ['euler', 'heun', 'lms', 'dpm++2m', 'dpm++2s', 'unipc', 'deis'] as const) {
      expect(() => samplers[name].plan(process, 5, options)).toThrow(/from 2 down to 2 are no range/);
    }
  });
  test('an option that the sampler does not have, or out of range', () => {
    expect(() => samplers.euler.options.parse({ eta: 1 })).toThrow(/eta/);
    expect(() => samplers.ddim.options.parse({ eta: 2 })).toThrow(/eta/);
    expect(samplers.ddim.options.parse({ eta: 0.5, spacing: 'trailing' })).toEqual({ eta: 0.5, spacing: 'trailing' });
  });
});

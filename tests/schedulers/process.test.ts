import { describe, expect, test } from 'vitest';
import { input } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';
import { addNoise, predictionTarget } from '../../src/schedulers/forward-process.js';
import { samplers } from '../../src/schedulers/index.js';
import type { Plan, SamplerOptions, Step } from '../../src/schedulers/plan.js';
import {
  bridge, flowLevel, levelAt, randomTimes, signalPower, snrAt, timeAt, trainingTimes, vpLevel, x0Prediction,
} from '../../src/schedulers/process.js';
import type { NoiseLevel, PredictionType, RectifiedFlow } from '../../src/schedulers/process.js';
import { logProbability, stochasticSteps } from '../../src/schedulers/transition.js';
import { predictX0, takeStep, transitionMean } from '../../src/schedulers/step.js';
import { host } from '../../src/graph/dtype.js';
import { sd15 } from './helpers.js';

const FLOW: RectifiedFlow = { kind: 'rectified-flow', predictionType: 'flow' };
const { process: VP } = sd15();

/** The noise shares that a plan visits, the last one included. */
const sigmas = ({ steps }: Plan): number[] => [...steps.map((s) => s.from.noise), steps.at(-1)!.to.noise];
const planned = (name: 'flow-euler' | 'flow-sde' | 'ddim', steps: number, options: SamplerOptions = {}): Plan =>
  samplers[name].plan(FLOW, steps, { shift: 3, ...options });
/** μ = keep·x + clean·x̂0 */
const rule = ({ from, meanFromX, meanFromOutput, std }: Step): { keep: number; clean: number; std: number } => {
  const clean = -meanFromOutput / from.noise;
  return { keep: meanFromX - clean, clean, std };
};

describe('levels', () => {
  test('of a time, also between training times', () => {
    expect(levelAt(FLOW, 250)).toEqual({ signal: 0.75, noise: 0.25 });
    expect(levelAt(VP, 500)).toEqual(vpLevel(VP.alphasCumprod[500]!));
    const [low, middle, high] = [500, 500.25, 501].map((t) => levelAt(VP, t)) as [NoiseLevel, NoiseLevel, NoiseLevel];
    const ratio = ({ signal, noise }: NoiseLevel): number => noise / signal;
    expect(ratio(middle)).toBeCloseTo(0.75 * ratio(low) + 0.25 * ratio(high), 12);
    expect(middle.signal ** 2 + middle.noise ** 2).toBeCloseTo(1, 14);
    // signal² is the table's ā to the last bit.
    for (let t = 0; t < 1000; t++) expect(signalPower(levelAt(VP, t))).toBe(VP.alphasCumprod[t]);
    expect(snrAt(VP, 981)).toBe(VP.alphasCumprod[981]! / (1 - VP.alphasCumprod[981]!));
    expect(snrAt(FLOW, 200)).toBeCloseTo(16, 12);
  });

  test('training times: whole ones of a table, all of a flow', () => {
    const key = { seed: 1, stream: 'times', step: 0 };
    expect(randomTimes(VP, key, 0, 50).every((t) => Number.isInteger(t) && t >= 0 && t < 1000)).toBe(true);
    const times = randomTimes(FLOW, key, 0, 4000);
    expect(times.every((t) => t > 0 && t <= 1000)).toBe(true);
    expect(times.reduce((a, b) => a + b) / 4000).toBeCloseTo(500, -1.5);
    expect([timeAt(VP, 0.12345), timeAt(FLOW, 0.12345)]).toEqual([123, 123.45]);
    expect([trainingTimes(VP), trainingTimes(FLOW)]).toEqual([1000, 1000]);
  });

  test('the bridge of a variance-preserving process has √(ā/ā\') and √(1 − ā/ā\'), that of a flow its own', () => {
    const [clean, noisy] = [0.7, 0.2];
    const vp = bridge(vpLevel(clean), vpLevel(noisy));
    expect(vp.mean).toBeCloseTo(Math.sqrt(noisy / clean), 14);
    expect(vp.std).toBeCloseTo(Math.sqrt(1 - noisy / clean), 14);
    const flow = bridge(flowLevel(0.3), flowLevel(0.8));
    expect(flow.mean).toBeCloseTo(0.2 / 0.7, 14);
    expect(flow.std ** 2).toBeCloseTo(0.64 - 0.09 * (0.2 / 0.7) ** 2, 14);
    // Two bridges one after the other are the one between their ends.
    const [first, second] = [bridge(flowLevel(0.3), flowLevel(0.5)), bridge(flowLevel(0.5), flowLevel(0.8))];
    expect(first.mean * second.mean).toBeCloseTo(flow.mean, 14);
    expect(Math.hypot(first.std * second.mean, second.std)).toBeCloseTo(flow.std, 14);
    expect(bridge(flowLevel(0.3), flowLevel(0.3))).toEqual({ mean: 1, std: 0 });
  });

  test('a variance-preserving sample is a flow\'s by one factor (flow.md B1.2)', () => {
    for (const [alphaBar, sigma, factor] of [[0.998296028, 0.0396753, 0.961144], [0.5, 0.5, 0.7071068],
      [0.1598164, 0.6963121, 0.7596557], [0.0057755, 0.9291805, 0.9318755]] as const) {
      const { signal, noise } = vpLevel(alphaBar);
      expect(noise / (signal + noise)).toBeCloseTo(sigma, 6);
      expect(1 / (signal + noise)).toBeCloseTo(factor, 6);
    }
  });
});

test.each([
  ['epsilon', vpLevel(0.3)], ['v', vpLevel(0.3)], ['sample', vpLevel(0.3)], ['flow', vpLevel(0.3)],
  ['epsilon', flowLevel(0.4)], ['sample', flowLevel(0.4)], ['flow', flowLevel(0.4)], ['flow', flowLevel(1)],
] as [PredictionType, NoiseLevel][])('%s at %o: x0 comes back from the training target', (type, level) => {
  const [x0, noise] = [Float32Array.of(0.5, -2, 1), Float32Array.of(1, 0.25, -0.5)];
  const x = addNoise(level, x0, noise);
  const target = predictionTarget(type, level, x0, noise);
  if (type === 'flow') expect([...target]).toEqual([0.5, 2.25, -1.5]);
  const { x0FromX, x0FromOutput } = x0Prediction(type, level);
  x0.forEach((v, i) => expect(x0FromX * x[i]! + x0FromOutput * target[i]!).toBeCloseTo(v, 6));
});

describe('flow samplers', () => {
  test.each([
    [4, {}, [1, 0.8576923, 0.6021505, 0.0089286, 0]],
    [5, {}, [1, 0.9003591, 0.7511211, 0.5029851, 0.0089286, 0]],
    [10, {}, [1, 0.9601293, 0.9133489, 0.8576923, 0.7903683, 0.7072785, 0.6021505, 0.464876, 0.2780488, 0.0089286, 0]],
    [10, { shift: 1 }, [1, 0.889, 0.778, 0.667, 0.556, 0.445, 0.334, 0.223, 0.112, 0.001, 0]],
    [10, { spacing: 'trailing' }, [1, 0.9642857, 0.9230769, 0.875, 0.8181818, 0.75, 0.6666667, 0.5625, 0.4285714, 0.25, 0]],
    [4, { spacing: 'trailing', shift: 1 }, [1, 0.75, 0.5, 0.25, 0]],
    [1, {}, [1, 0]],
  ] as const)('%i steps with %o visit the levels of diffusers (flow.md A4.3)', (steps, options, expected) => {
    for (const name of ['flow-euler', 'flow-sde', 'ddim'] as const) {
      const plan = planned(name, steps, options);
      sigmas(plan).forEach((sigma, i) => expect(sigma).toBeCloseTo(expected[i]!, 6));
      plan.steps.forEach(({ timestep, from }) => expect(timestep).toBeCloseTo(1000 * from.noise, 9));
    }
  });

  test('the SDE has the coefficients of Flow-GRPO (flow.md B2.1)', () => {
    const table = [[0.715129, 0.039871, 0.7], [0.651881, 0.06066, 0.742964], [0.766768, 0.075866, 0.536152], [0.786368, 0.097726, 0.445897],
      [0.772007, 0.130884, 0.391794], [0.726957, 0.185053, 0.352797], [0.631638, 0.283827, 0.31907], [0.414115, 0.500348, 0.282007],
      [-0.296349, 1.205021, 0.22536]];
    const { steps } = planned('flow-sde', 10);
    table.forEach(([keep, clean, std], i) => {
      const got = rule(steps[i]!);
      expect(got.keep).toBeCloseTo(keep!, 5);
      expect(got.clean).toBeCloseTo(clean!, 5);
      expect(got.std).toBeCloseTo(std!, 5);
    });
    expect(stochasticSteps(planned('flow-sde', 10))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test('every step keeps the signal; DDIM meets the noise as well, at any η', () => {
    for (const [name, options] of [['flow-euler', {}], ['flow-sde', {}], ['flow-sde', { sdeNoise: 1.2 }], ['ddim', { eta: 0.4 }], ['ddim', { eta: 1 }]] as const) {
      for (const step of planned(name, 12, options).steps) {
        const { keep, clean, std } = rule(step);
        expect(keep * step.from.signal + clean).toBeCloseTo(step.to.signal, 12);
        if (name !== 'flow-sde') expect((keep * step.from.noise) ** 2 + std ** 2).toBeCloseTo(step.to.noise ** 2, 12);
      }
    }
  });

  test('at √2 the SDE is the memoryless one: drift 2v + x/(1−σ)', () => {
    for (const { from, to, meanFromX, meanFromOutput } of planned('flow-sde', 10, { sdeNoise: Math.SQRT2 }).steps.slice(1, -1)) {
      const h = from.noise - to.noise;
      expect(meanFromOutput).toBeCloseTo(-2 * h, 12);
      expect(meanFromX).toBeCloseTo(1 - h / from.signal, 12);
    }
  });

  test('Gaussian data: the deviation that each sampler ends with, and its limit (flow.md B2.2)', () => {
    const [m, s] = [1, 0.5];
    const final = (plan: Plan): { mean: number; std: number } => {
      let [mean, variance] = [0, 1];
      for (const step of plan.steps) {
        const { signal, noise } = step.from;
        const share = (signal * s ** 2) / (signal ** 2 * s ** 2 + noise ** 2); // x̂0 = m + share·(x − signal·m)
        const { keep, clean, std } = rule(step);
        const slope = keep + clean * share;
        [mean, variance] = [slope * mean + clean * m * (1 - share * signal), slope ** 2 * variance + std ** 2];
      }
      return { mean, std: Math.sqrt(variance) };
    };
    for (const [name, options, expected] of [
      ['flow-euler', {}, [0.3592, 0.4295, 0.4645, 0.491]], ['flow-sde', {}, [0.421, 0.4582, 0.4794, 0.4956]],
      ['ddim', { eta: 1 }, [0.3193, 0.384, 0.43, 0.4781]], ['flow-euler', { spacing: 'trailing' }, [0.3697, 0.4316, 0.4647, 0.491]],
    ] as const) {
      [10, 20, 40, 160].forEach((steps, i) => {
        const { mean, std } = final(planned(name, steps, options));
        expect(mean).toBeCloseTo(1, 10);
        expect(Math.abs(std - expected[i]!), `${name} ${steps}`).toBeLessThan(6e-5);
      });
    }
  });

  test('one step, its mean and its log-probability in numbers (flow.md B2.3)', async () => {
    const step = planned('flow-sde', 10).steps[4]!;
    const [x, v, z] = [Float32Array.of(0.5, -1), Float32Array.of(0.2, -0.4), Float32Array.of(1, -0.5)];
    const near = (got: Float32Array, expected: readonly number[]): void => expected.forEach((value, i) => expect(got[i]!).toBeCloseTo(value, 6));
    near(predictX0(step, x, v), [0.3419263, -0.6838527]);
    near(transitionMean(step, x, v), [0.4307564, -0.8615129]);
    const next = takeStep(step, x, v, { noise: z });
    near(next, [0.8225507, -1.0574101]);
    near(transitionMean(planned('flow-euler', 10).steps[4]!, x, v), [0.483382, -0.9667641]);
    const exe = await compile({ outputs: { logProb: logProbability(step, input('next', [1, 2]), input('mean', [1, 2])) } }, { threads: 1 });
    const { logProb } = await exe.run({ next: host(next, [1, 2]), mean: host(transitionMean(step, x, v), [1, 2]) });
    expect(Number(logProb.data[0])).toBeCloseTo(-0.2944202, 5);
    await exe.release();
  });

  test('detailed balance: for a point mass DDIM at η = 1 and the bridge are each other\'s reverse (flow.md D14)', () => {
    const density = (x: number, mean: number, std: number): number => -0.5 * ((x - mean) / std) ** 2 - Math.log(std);
    const m = 0.3;
    for (const step of planned('ddim', 10, { eta: 1 }).steps.slice(1, -1)) {
      const { keep, clean, std } = rule(step);
      const back = bridge(step.to, step.from);
      for (const [x, next] of [[0.2, 0.4], [-0.7, 0.1]] as const) {
        const forth = density(next, keep * x + clean * m, std) - density(x, back.mean * next, back.std);
        const marginals = density(next, step.to.signal * m, step.to.noise) - density(x, step.from.signal * m, step.from.noise);
        expect(forth).toBeCloseTo(marginals, 8);
      }
    }
  });

  test('each kind of model is told which samplers it has', () => {
    expect(() => samplers.euler.plan(FLOW, 10)).toThrow(/flow models are sampled by ddim, flow-euler, flow-sde/);
    expect(() => samplers['flow-sde'].plan(VP, 10)).toThrow(/for flow models; diffusion models are sampled by ddim, ddpm, euler/);
    expect(() => samplers['flow-euler'].plan(FLOW, 10, { spacing: 'leading' })).toThrow(/trailing or linspace/);
    expect(() => samplers['flow-euler'].plan(FLOW, 0)).toThrow(/from 1 to 1000, not 0/);
  });
});

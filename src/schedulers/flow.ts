/** @file Samplers of rectified flows: which shares of noise σ are visited, and ODE and SDE steps between them. */
import { SamplingError } from './errors.js';
import { makeStep } from './plan.js';
import type { Plan, Rule, SamplerOptions, Step } from './plan.js';
import { bridge, flowLevel, trainingTimes, x0Prediction } from './process.js';
import type { NoiseLevel, RectifiedFlow } from './process.js';

/** σ with the noise of `shift` times as many pixels (Esser et al. 2024, arXiv 2403.03206, eq. 23). */
const shifted = (sigma: number, shift: number): number => (shift * sigma) / (1 + (shift - 1) * sigma);

/**
 * S + 1 shares of noise, from 1 down to 0. `linspace`, as diffusers' `FlowMatchEulerDiscreteScheduler` by itself: evenly from
 * the last training time to the first, and those are shifted already, so that the shift acts twice. `trailing`, as its
 * pipelines that name the σ themselves: 1, 1 − 1/S, … 1/S, shifted once.
 *
 * @throws SamplingError for a spacing or number of steps that flows do not have
 */
function flowSigmas(process: RectifiedFlow, steps: number, options: Pick<SamplerOptions, 'spacing' | 'shift'> = {}): number[] {
  const { spacing = 'linspace', shift = 1 } = options;
  const trained = trainingTimes(process);
  if (!Number.isInteger(steps) || steps < 1 || steps > trained) {
    throw new SamplingError(`the number of sampling steps must be a whole number from 1 to ${trained}, not ${steps}`);
  }
  if (spacing === 'leading') throw new SamplingError('flow models are sampled from pure noise; use spacing trailing or linspace');
  const least = spacing === 'trailing' ? 1 / steps : shifted(1 / trained, shift);
  const even = Array.from({ length: steps }, (_, i) => (steps === 1 ? 1 : 1 + (i / (steps - 1)) * (least - 1)));
  return [...even.map((sigma) => shifted(sigma, shift)), 0];
}

/** The step from one share of noise to another by a rule made of both levels. */
function flowStep(process: RectifiedFlow, sigma: number, next: number, rule: (from: NoiseLevel, to: NoiseLevel) => Rule): Step {
  const [from, to] = [flowLevel(sigma), flowLevel(next)];
  const trained = trainingTimes(process);
  const times = { timestep: trained * sigma, nextTimestep: trained * next, from, to };
  return makeStep(times, x0Prediction(process.predictionType, from), rule(from, to));
}

/**
 * DDIM for flows: x' = signal'·x̂0 + √(noise'² − std²)·ε̂ + std·z, std = η·(noise'/noise)·(deviation of the noising
 * between both levels). Each level is met exactly for any number of steps; η = 1 is the posterior of the noising, whose
 * limit for small steps is the memoryless SDE, and η = 0 Euler's step. A last step to no noise is deterministic.
 */
export const flowDdimStep = (process: RectifiedFlow, sigma: number, next: number, eta: number): Step =>
  flowStep(process, sigma, next, (from, to) => {
    const std = eta * (to.noise / from.noise) * bridge(to, from).std;
    const keep = Math.sqrt(Math.max(0, to.noise ** 2 - std ** 2)) / from.noise;
    return { keep, clean: to.signal - keep * from.signal, std };
  });

function planned(
  process: RectifiedFlow, steps: number, options: SamplerOptions, step: (sigma: number, next: number, sigmas: readonly number[]) => Step,
): Plan {
  const sigmas = flowSigmas(process, steps, options);
  return { initialStd: 1, steps: sigmas.slice(1).map((next, i) => step(sigmas[i]!, next, sigmas)) };
}

export const flowDdim = (process: RectifiedFlow, steps: number, options: SamplerOptions = {}): Plan =>
  planned(process, steps, options, (sigma, next) => flowDdimStep(process, sigma, next, options.eta ?? 0));

/** Euler's method on dx/dσ = v (Liu et al. 2023, arXiv 2209.03003): x' = x + (σ' − σ)·v. */
export const flowEuler = (process: RectifiedFlow, steps: number, options: SamplerOptions = {}): Plan =>
  planned(process, steps, options, (sigma, next) => flowDdimStep(process, sigma, next, 0));

/**
 * The SDE with the ODE's marginals, by Euler–Maruyama (Flow-GRPO: Liu et al. 2025, arXiv 2505.05470, eq. 9): with h = σ − σ',
 *
 *     x' = x − h·v − h·(g²/2σ)·(x + (1−σ)·v) + g·√h·z,   g = sdeNoise·√(σ/(1−σ)),
 *
 * at σ = 1 with the second σ under the root. The marginals are equal in the limit of small steps; long ones leave more
 * noise than σ'. The last step is the ODE's.
 */
export const flowSde = (process: RectifiedFlow, steps: number, options: SamplerOptions = {}): Plan =>
  planned(process, steps, options, (sigma, next, sigmas) => {
    if (next === 0) return flowDdimStep(process, sigma, next, 0);
    return flowStep(process, sigma, next, ({ signal }) => {
      const { sdeNoise = 0.7 } = options;
      const g = sdeNoise * Math.sqrt(sigma / (signal || 1 - sigmas[1]!));
      const h = sigma - next;
      // v = (x − x̂0)/σ
      const fromX = 1 - (g ** 2 / (2 * sigma)) * h;
      const fromV = -(1 + (g ** 2 * signal) / (2 * sigma)) * h;
      return { keep: fromX + fromV / sigma, clean: -fromV / sigma, std: g * Math.sqrt(h) };
    });
  });

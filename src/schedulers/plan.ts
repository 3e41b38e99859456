/**
 * @file What a sampler is: a function from a noise schedule and a number of steps to the coefficients of each step.
 *
 * Every sampler here is linear in the sample, the network's output, the previous clean prediction and fresh noise, with
 * coefficients that depend on the step alone. So a sampler only plans; step.ts applies any plan, on graph tensors or on
 * host arrays, and transition.ts takes its densities. All samples are variance preserving, x = √ā·x0 + √(1−ā)·ε, also
 * for the samplers that other libraries run in units of σ = √((1−ā)/ā): their sample is x/√ā, their scaled network
 * input is x.
 */
import { z } from 'zod';
import type { NoiseSchedule, PredictionType } from './noise-schedule.js';

/** Wrong use of a sampler: its message says which option to change. */
export class SamplingError extends Error {
  override readonly name = 'SamplingError';
}

/** Numbers of one step; or the same as graph tensors, `timestep`s [B] and all else [B, 1, 1, 1]. */
export interface Step<C = number> {
  /** Time that the network is told for x; may lie between training times (Euler, linspace). */
  readonly timestep: C;
  /** Time of the result x'; 0 after the last step. */
  readonly nextTimestep: C;
  /** ā of x. */
  readonly alphaBar: C;
  /** ā of x'. */
  readonly nextAlphaBar: C;
  /** Clean prediction x̂0 = cleanX·x + cleanOut·output. */
  readonly cleanX: C;
  readonly cleanOut: C;
  /** Mean μ = meanX·x + meanOut·output + meanClean·(x̂0 of the step before). */
  readonly meanX: C;
  readonly meanOut: C;
  readonly meanClean: C;
  /** Deviation σ of x' = μ + σ·z, z ~ N(0, I); 0 for a deterministic step. */
  readonly std: C;
}

export interface Plan {
  /** The first sample is initialStd·z. */
  readonly initialStd: number;
  readonly steps: readonly Step[];
}

/** Settings of all samplers; each reads those that its entry in index.ts lists, and leaves the others. */
export const samplerOptions = z.strictObject({
  /** How the steps are spread over the training times. Default: the sampler's own. */
  spacing: z.enum(['leading', 'trailing', 'linspace']).optional(),
  /** Added to each time of `leading` spacing; 1 for Stable Diffusion. Default 0. */
  stepsOffset: z.int().min(0).optional(),
  /** DDIM: share of DDPM's noise, 0 (default) deterministic to 1. */
  eta: z.number().min(0).max(1).optional(),
  /**
   * DDIM: where the last step ends. `diffusers` (default): at the schedule's finalAlphaCumprod. `ddpo`: at ā_0, as
   * DDPO, D3PO and nabla-DB do, so that with eta > 0 its deviation is never 0.
   */
  lastStep: z.enum(['diffusers', 'ddpo']).optional(),
  /** DDPM: variance of the posterior (`small`, default) or β (`large`). */
  variance: z.enum(['small', 'large']).optional(),
  /** DPM-Solver++: order of the solver. Default 2. */
  order: z.union([z.literal(1), z.literal(2)]).optional(),
  /** DPM-Solver++: noise level after the last step: none (`zero`, default), or that of ā_0 (`min`). */
  finalSigma: z.enum(['zero', 'min']).optional(),
  /** LCM: number of times it was distilled on. Default 50. */
  originalSteps: z.int().min(1).optional(),
  /** LCM: factor of time in the boundary condition. Default 10. */
  timestepScaling: z.number().positive().optional(),
});

export type SamplerOptions = z.infer<typeof samplerOptions>;

/**
 * The one signature of all samplers.
 *
 * @throws SamplingError if the schedule cannot be sampled in this way.
 */
export type Sampler = (schedule: NoiseSchedule, steps: number, options?: SamplerOptions) => Plan;

/** A linear function cleanX·x + cleanOut·output. */
export type CleanCoefficients = Pick<Step, 'cleanX' | 'cleanOut'>;

/**
 * x̂0 from the network's output: (x − √(1−ā)·ε)/√ā, √ā·x − √(1−ā)·v, or the output itself.
 *
 * @throws SamplingError if noise is predicted where there is nothing but noise.
 */
export function cleanPrediction(type: PredictionType, alphaBar: number): CleanCoefficients {
  const [signal, noise] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  if (type === 'sample') return { cleanX: 0, cleanOut: 1 };
  if (type === 'v') return { cleanX: signal, cleanOut: -noise };
  if (alphaBar === 0) {
    throw new SamplingError('a model that predicts noise cannot be sampled from zero terminal SNR; ' +
      'use a schedule without rescale_betas_zero_snr, or a v-prediction model');
  }
  return { cleanX: 1 / signal, cleanOut: -noise / signal };
}

/** How x' follows from x and x̂0: μ = keep·x + clean·x̂0 + previousClean·(x̂0 of the step before), deviation std. */
export interface Rule {
  readonly keep: number;
  readonly clean: number;
  readonly previousClean?: number;
  readonly std?: number;
}

/** The step at these times with this clean prediction and this rule. */
export function makeStep(
  times: Pick<Step, 'timestep' | 'nextTimestep' | 'alphaBar' | 'nextAlphaBar'>,
  { cleanX, cleanOut }: CleanCoefficients,
  { keep, clean, previousClean = 0, std = 0 }: Rule,
): Step {
  const { timestep, nextTimestep, alphaBar, nextAlphaBar } = times;
  return {
    timestep, nextTimestep, alphaBar, nextAlphaBar, cleanX, cleanOut,
    meanX: keep + clean * cleanX,
    meanOut: clean * cleanOut,
    meanClean: previousClean,
    std,
  };
}

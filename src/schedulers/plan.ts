/**
 * @file What a sampler is: a function from a process and a number of steps to the coefficients of each step.
 *
 * Every sampler here is linear in the sample, the network's output, what earlier calls of the network saw and answered,
 * and fresh noise, with coefficients that depend on the step alone. So a sampler only plans; step.ts applies any plan, on
 * graph tensors or on host arrays, and transition.ts takes its densities. A step of a plan is one call of the network:
 * solvers that call it twice a step (Heun) plan two. Samples of a variance-preserving process stay so,
 * x = √ā·x0 + √(1−ā)·ε, also for the samplers that other libraries run in units of σ = √((1−ā)/ā): their sample is
 * x/√ā, their scaled network input is x.
 */
import { z } from 'zod';
import type { NoiseLevel, Process, X0Coefficients } from './process.js';

/** What a step takes of an earlier call: x·(the sample that it saw) + clean·(its x̂0). */
export interface Earlier {
  readonly x: number;
  readonly clean: number;
}

/** Numbers of one step; or the same as graph tensors, `timestep`s [B] and all else [B, 1, 1, 1]. */
export interface Step<C = number> extends X0Coefficients<C> {
  /** Time that the network is told for x; may lie between training times (Euler, linspace). */
  readonly timestep: C;
  /** Time of the result x'; 0 after the last step. */
  readonly nextTimestep: C;
  /** Level of x. */
  readonly from: NoiseLevel<C>;
  /** Level of x'. */
  readonly to: NoiseLevel<C>;
  /** Mean μ = meanFromX·x + meanFromOutput·output + what it takes of the past. */
  readonly meanFromX: C;
  readonly meanFromOutput: C;
  /** Shares of the calls before, the latest first; none in one-step samplers, the only ones that training takes. */
  readonly past?: readonly Earlier[];
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
  /**
   * Noise levels that the steps go by, instead of those of the times that `spacing` visits (`plain`, default): Karras et
   * al. 2022, eq. 5 with ρ = 7; evenly spaced in log σ (`exponential`, and `lu` with times rounded otherwise); quantiles
   * of Beta(0.6, 0.6) (Lee et al. 2024, arXiv 2407.12173).
   */
  sigmas: z.enum(['plain', 'karras', 'exponential', 'beta', 'lu']).optional(),
  /** Smallest and largest σ of these, if not those of the schedule. */
  sigmaMin: z.number().positive().optional(),
  sigmaMax: z.number().positive().optional(),
  /** Share of fresh noise, 0 deterministic to 1. DDIM: of DDPM's, default 0; TCD: its γ, default 0.3. */
  eta: z.number().min(0).max(1).optional(),
  /**
   * DDIM: where the last step ends. `diffusers` (default): at the schedule's finalAlphaCumprod. `ddpo`: at ā_0, as
   * DDPO, D3PO and nabla-DB do, so that with eta > 0 its deviation is never 0. Flows end without noise in either.
   */
  lastStep: z.enum(['diffusers', 'ddpo']).optional(),
  /** DDPM: variance of the posterior (`small`, default) or β (`large`). */
  variance: z.enum(['small', 'large']).optional(),
  /** Order of a solver, up to 3; of LMS, up to 4 and by default. Default 2. */
  order: z.int().min(1).max(4).optional(),
  /** How the second derivative is taken in: DPM-Solver++ `midpoint` (default) or `heun`; UniPC `bh2` (default), `bh1`. */
  solverType: z.enum(['midpoint', 'heun', 'bh1', 'bh2']).optional(),
  /** Solvers of higher order: end on lower orders if the steps are few. Default: the sampler's own. */
  lowerOrderFinal: z.boolean().optional(),
  /** DPM-Solver++: a first-order last step, however many there are. Default false. */
  eulerAtFinal: z.boolean().optional(),
  /** Noise level after the last step: none (`zero`, default), or that of ā_0 (`min`). */
  finalSigma: z.enum(['zero', 'min']).optional(),
  /** LCM and TCD: number of times the model was distilled on. Default 50. */
  originalSteps: z.int().min(1).optional(),
  /** Flows: how far the steps lie towards noise; 1 (default) for none, 3 for Stable Diffusion 3. */
  shift: z.number().positive().optional(),
  /** Flow SDE: noise in units of √(σ/(1−σ)). Default 0.7 (Flow-GRPO for Stable Diffusion 3). */
  sdeNoise: z.number().positive().optional(),
  /** LCM: factor of time in the boundary condition. Default 10. */
  timestepScaling: z.number().positive().optional(),
});

export type SamplerOptions = z.infer<typeof samplerOptions>;

/**
 * The one signature of all samplers.
 *
 * @throws SamplingError if the process cannot be sampled in this way.
 */
export type Sampler = (process: Process, steps: number, options?: SamplerOptions) => Plan;

/** How x' follows from x, x̂0 and the past: μ = keep·x + clean·x̂0 + Σ (x·x + clean·x̂0 of earlier calls), deviation std. */
export interface Rule {
  readonly keep: number;
  readonly clean: number;
  readonly past?: readonly Earlier[];
  readonly std?: number;
}

/** The step at these times with this clean prediction and this rule. */
export function makeStep(
  times: Pick<Step, 'timestep' | 'nextTimestep' | 'from' | 'to'>,
  { x0FromX, x0FromOutput }: X0Coefficients,
  { keep, clean, past = [], std = 0 }: Rule,
): Step {
  const { timestep, nextTimestep, from, to } = times;
  return {
    timestep, nextTimestep, from, to, x0FromX, x0FromOutput,
    meanFromX: keep + clean * x0FromX,
    meanFromOutput: clean * x0FromOutput,
    ...(past.some((p) => p.x !== 0 || p.clean !== 0) && { past }),
    std,
  };
}

/** @file The samplers by name, for the command line and for configuration. */
import type { z } from 'zod';
import { ddim } from './ddim.js';
import { ddpm } from './ddpm.js';
import { deis } from './deis.js';
import { dpmSolver, dpmSolverSde } from './dpm-solver-pp.js';
import { dpmSolverSingle } from './dpm-solver-single.js';
import { eulerAncestral } from './euler-ancestral.js';
import { euler } from './euler.js';
import { heun } from './heun.js';
import { lcm } from './lcm.js';
import { lms } from './lms.js';
import { samplerOptions } from './plan.js';
import type { Sampler, SamplerOptions } from './plan.js';
import { tcd } from './tcd.js';
import { uniPc } from './unipc.js';

export interface SamplerEntry {
  readonly plan: Sampler;
  /** One line for `attune list samplers`. */
  readonly summary: string;
  /** The options it reads, as a schema that refuses others by name. */
  readonly options: {
    parse(value: unknown): SamplerOptions;
    safeParse(value: unknown): z.ZodSafeParseResult<SamplerOptions>;
    readonly shape: object;
  };
}

const spaced = { spacing: true, stepsOffset: true } as const;
const levels = { sigmas: true, sigmaMin: true, sigmaMax: true } as const;
const solver = { ...levels, order: true, solverType: true, lowerOrderFinal: true, finalSigma: true } as const;

export const samplers = {
  ddim: {
    plan: ddim,
    summary: 'DDIM: deterministic at eta 0 (default), stochastic up to DDPM at eta 1',
    options: samplerOptions.pick({ ...spaced, eta: true, lastStep: true }),
  },
  ddpm: {
    plan: ddpm,
    summary: 'DDPM ancestral sampling: stochastic, wants many steps',
    options: samplerOptions.pick({ ...spaced, variance: true }),
  },
  euler: {
    plan: euler,
    summary: 'Euler steps on the probability-flow ODE: deterministic',
    options: samplerOptions.pick({ ...spaced, ...levels, finalSigma: true }),
  },
  'euler-a': {
    plan: eulerAncestral,
    summary: 'Euler steps with ancestral noise: stochastic; the sampler of SDXL-Turbo',
    options: samplerOptions.pick(spaced),
  },
  heun: {
    plan: heun,
    summary: 'Heun steps on the same ODE: deterministic, two network calls each',
    options: samplerOptions.pick({ ...spaced, ...levels }),
  },
  lms: {
    plan: lms,
    summary: 'Linear multistep (Adams-Bashforth, order 4) on the same ODE: deterministic',
    options: samplerOptions.pick({ ...spaced, ...levels, order: true }),
  },
  'dpm++2m': {
    plan: dpmSolver,
    summary: 'DPM-Solver++ 2M: deterministic, good from 15 to 25 steps',
    options: samplerOptions.pick({ ...spaced, ...solver, eulerAtFinal: true }),
  },
  'dpm++2m-sde': {
    plan: dpmSolverSde,
    summary: 'DPM-Solver++ 2M, SDE form: stochastic, with log-probabilities at finalSigma min',
    options: samplerOptions.pick({ ...spaced, ...solver, eulerAtFinal: true }),
  },
  'dpm++2s': {
    plan: dpmSolverSingle,
    summary: 'DPM-Solver++ singlestep: deterministic; order 2 or 3 by going over each step again',
    options: samplerOptions.pick(solver),
  },
  unipc: {
    plan: uniPc,
    summary: 'UniPC: predictor and corrector of order 2, deterministic, good from 8 to 20 steps',
    options: samplerOptions.pick({ ...spaced, ...solver }),
  },
  deis: {
    plan: deis,
    summary: 'DEIS: exponential integrator of order 2, deterministic, good from 10 to 25 steps',
    options: samplerOptions.pick({ ...spaced, ...levels, order: true, lowerOrderFinal: true }),
  },
  lcm: {
    plan: lcm,
    summary: 'Latent consistency sampling: 1 to 8 steps, for LCM-distilled models only',
    options: samplerOptions.pick({ originalSteps: true, timestepScaling: true }),
  },
  tcd: {
    plan: tcd,
    summary: 'Trajectory consistency: 1 to 8 steps, for TCD-distilled models and LoRAs; deterministic at eta 0, 0.3 by default',
    options: samplerOptions.pick({ originalSteps: true, eta: true }),
  },
} as const satisfies Record<string, SamplerEntry>;

export type SamplerName = keyof typeof samplers;

/** @file The samplers by name, for the command line and for configuration. */
import { ddim } from './ddim.js';
import { ddpm } from './ddpm.js';
import { dpmSolver, dpmSolverSde } from './dpm-solver-pp.js';
import { eulerAncestral } from './euler-ancestral.js';
import { euler } from './euler.js';
import { lcm } from './lcm.js';
import { samplerOptions } from './plan.js';
import type { Sampler, SamplerOptions } from './plan.js';

export interface SamplerEntry {
  readonly plan: Sampler;
  /** One line for `attune list samplers`. */
  readonly summary: string;
  /** The options it reads, as a schema that refuses others by name. */
  readonly options: { parse(value: unknown): SamplerOptions };
}

const spaced = { spacing: true, stepsOffset: true } as const;

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
    options: samplerOptions.pick(spaced),
  },
  'euler-a': {
    plan: eulerAncestral,
    summary: 'Euler steps with ancestral noise: stochastic; the sampler of SDXL-Turbo',
    options: samplerOptions.pick(spaced),
  },
  'dpm++2m': {
    plan: dpmSolver,
    summary: 'DPM-Solver++ 2M: deterministic, good from 15 to 25 steps',
    options: samplerOptions.pick({ ...spaced, order: true, finalSigma: true }),
  },
  'dpm++2m-sde': {
    plan: dpmSolverSde,
    summary: 'DPM-Solver++ 2M, SDE form: stochastic, with log-probabilities at finalSigma min',
    options: samplerOptions.pick({ ...spaced, order: true, finalSigma: true }),
  },
  lcm: {
    plan: lcm,
    summary: 'Latent consistency sampling: 1 to 8 steps, for LCM-distilled models only',
    options: samplerOptions.pick({ originalSteps: true, timestepScaling: true }),
  },
} as const satisfies Record<string, SamplerEntry>;

export type SamplerName = keyof typeof samplers;

/** @file The samplers by name, for the command line and for configuration. */
import type { z } from 'zod';
import { ddim } from './ddim.js';
import { ddpm } from './ddpm.js';
import { deis } from './deis.js';
import { dpmSolver, dpmSolverSde } from './dpm-solver-pp.js';
import { dpmSolverSingle } from './dpm-solver-single.js';
import { eulerAncestral } from './euler-ancestral.js';
import { SamplingError } from './errors.js';
import { euler } from './euler.js';
import { heun } from './heun.js';
import { lcm } from './lcm.js';
import { flowEuler, flowSde } from './flow.js';
import { lms } from './lms.js';
import { samplerOptions } from './plan.js';
import type { Plan, Sampler, SamplerOptions } from './plan.js';
import type { Process } from './process.js';
import { tcd } from './tcd.js';
import { uniPc } from './unipc.js';

export interface SamplerEntry {
  readonly plan: Sampler;
  /** The kinds of process that it samples; `plan` refuses others. */
  readonly kinds: readonly Process['kind'][];
  /** One line for `attune list samplers`. */
  readonly summary: string;
  /** The options it reads, as a schema that refuses others by name. */
  readonly options: {
    parse(value: unknown): SamplerOptions;
    safeParse(value: unknown): z.ZodSafeParseResult<SamplerOptions>;
    readonly shape: object;
  };
}

/** Names a process in messages. */
export const PROCESS_NAMES: Readonly<Record<Process['kind'], string>> = { 'variance-preserving': 'diffusion models', 'rectified-flow': 'flow models' };

/** A sampler of one kind of process; of others it says which samplers they have. */
function of<K extends Process['kind']>(
  kind: K, plan: (process: Extract<Process, { kind: K }>, steps: number, options?: SamplerOptions) => Plan,
): Pick<SamplerEntry, 'plan' | 'kinds'> {
  return {
    kinds: [kind],
    plan(process, steps, options) {
      if (process.kind === kind) return plan(process as Extract<Process, { kind: K }>, steps, options);
      throw new SamplingError(`this sampler is for ${PROCESS_NAMES[kind]}; ${PROCESS_NAMES[process.kind]} are sampled by ${samplersOf(process.kind).join(', ')}`);
    },
  };
}

const spaced = { spacing: true, stepsOffset: true } as const;
const levels = { sigmas: true, sigmaMin: true, sigmaMax: true } as const;
const solver = { ...levels, order: true, solverType: true, lowerOrderFinal: true, finalSigma: true } as const;

export const samplers = {
  ddim: {
    plan: ddim,
    kinds: ['variance-preserving', 'rectified-flow'],
    summary: 'DDIM: deterministic at eta 0 (default), stochastic up to DDPM at eta 1',
    options: samplerOptions.pick({ ...spaced, shift: true, eta: true, lastStep: true }),
  },
  ddpm: {
    ...of('variance-preserving', ddpm),
    summary: 'DDPM ancestral sampling: stochastic, wants many steps',
    options: samplerOptions.pick({ ...spaced, variance: true }),
  },
  euler: {
    ...of('variance-preserving', euler),
    summary: 'Euler steps on the probability-flow ODE: deterministic',
    options: samplerOptions.pick({ ...spaced, ...levels, finalSigma: true }),
  },
  'euler-a': {
    ...of('variance-preserving', eulerAncestral),
    summary: 'Euler steps with ancestral noise: stochastic; the sampler of SDXL-Turbo',
    options: samplerOptions.pick(spaced),
  },
  heun: {
    ...of('variance-preserving', heun),
    summary: 'Heun steps on the same ODE: deterministic, two network calls each',
    options: samplerOptions.pick({ ...spaced, ...levels }),
  },
  lms: {
    ...of('variance-preserving', lms),
    summary: 'Linear multistep (Adams-Bashforth, order 4) on the same ODE: deterministic',
    options: samplerOptions.pick({ ...spaced, ...levels, order: true }),
  },
  'dpm++2m': {
    ...of('variance-preserving', dpmSolver),
    summary: 'DPM-Solver++ 2M: deterministic, good from 15 to 25 steps',
    options: samplerOptions.pick({ ...spaced, ...solver, eulerAtFinal: true }),
  },
  'dpm++2m-sde': {
    ...of('variance-preserving', dpmSolverSde),
    summary: 'DPM-Solver++ 2M, SDE form: stochastic, with log-probabilities at finalSigma min',
    options: samplerOptions.pick({ ...spaced, ...solver, eulerAtFinal: true }),
  },
  'dpm++2s': {
    ...of('variance-preserving', dpmSolverSingle),
    summary: 'DPM-Solver++ singlestep: deterministic; order 2 or 3 by going over each step again',
    options: samplerOptions.pick(solver),
  },
  unipc: {
    ...of('variance-preserving', uniPc),
    summary: 'UniPC: predictor and corrector of order 2, deterministic, good from 8 to 20 steps',
    options: samplerOptions.pick({ ...spaced, ...solver }),
  },
  deis: {
    ...of('variance-preserving', deis),
    summary: 'DEIS: exponential integrator of order 2, deterministic, good from 10 to 25 steps',
    options: samplerOptions.pick({ ...spaced, ...levels, order: true, lowerOrderFinal: true }),
  },
  lcm: {
    ...of('variance-preserving', lcm),
    summary: 'Latent consistency sampling: 1 to 8 steps, for LCM-distilled models only',
    options: samplerOptions.pick({ originalSteps: true, timestepScaling: true }),
  },
  tcd: {
    ...of('variance-preserving', tcd),
    summary: 'Trajectory consistency: 1 to 8 steps, for TCD-distilled models and LoRAs; deterministic at eta 0, 0.3 by default',
    options: samplerOptions.pick({ originalSteps: true, eta: true }),
  },
  'flow-euler': {
    ...of('rectified-flow', flowEuler),
    summary: 'Euler steps on the ODE of a flow model: deterministic',
    options: samplerOptions.pick({ spacing: true, shift: true }),
  },
  'flow-sde': {
    ...of('rectified-flow', flowSde),
    summary: 'The SDE of a flow model with the same marginals: stochastic but for the last step (Flow-GRPO)',
    options: samplerOptions.pick({ spacing: true, shift: true, sdeNoise: true }),
  },
} as const satisfies Record<string, SamplerEntry>;

export type SamplerName = keyof typeof samplers;

/** The samplers of a kind of process, by name. */
export const samplersOf = (kind: Process['kind']): SamplerName[] =>
  (Object.keys(samplers) as SamplerName[]).filter((name) => (samplers[name].kinds as SamplerEntry['kinds']).includes(kind));

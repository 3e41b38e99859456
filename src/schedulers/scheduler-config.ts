/**
 * @file Reads a diffusers `scheduler_config.json`: noise process, default sampler and its options. The noise schedule must
 * be understood; of the rest is taken what is known here, and what is not is told.
 */
import { z } from 'zod';
import { FormatError, shown } from '../formats/errors.js';
import { parseConfig } from '../models/config.js';
import { FLOW_SCHEDULER, readFlowConfig } from './flow-config.js';
import type { SamplerName } from './index.js';
import { cumulativeAlphas, makeBetas, rescaleZeroTerminalSnr } from './noise-schedule.js';
import type { SamplerOptions } from './plan.js';
import type { Process, VariancePreserving } from './process.js';

export interface SchedulerConfig<P extends Process = Process> {
  readonly process: P;
  /** The sampler that the checkpoint names; DDIM in place of PNDM, whose configuration it inherits, and of unknown ones. */
  readonly sampler: SamplerName;
  /** What the file says about sampling, whichever sampler is used. What it leaves out is the sampler's own default. */
  readonly options: SamplerOptions;
  /** What the file says and is not done, a clause each. */
  readonly warnings: readonly string[];
  /** Told where no other sampler is asked for: the file's is not among ours, and what takes its place. */
  readonly instead: string | null;
}

const SAMPLERS: Readonly<Record<string, SamplerName>> = {
  PNDMScheduler: 'ddim',
  DDIMScheduler: 'ddim',
  DDIMParallelScheduler: 'ddim',
  DDPMScheduler: 'ddpm',
  DDPMParallelScheduler: 'ddpm',
  EulerDiscreteScheduler: 'euler',
  EulerAncestralDiscreteScheduler: 'euler-a',
  HeunDiscreteScheduler: 'heun',
  LMSDiscreteScheduler: 'lms',
  DPMSolverMultistepScheduler: 'dpm++2m',
  DPMSolverSinglestepScheduler: 'dpm++2s',
  UniPCMultistepScheduler: 'unipc',
  DEISMultistepScheduler: 'deis',
  LCMScheduler: 'lcm',
  TCDScheduler: 'tcd',
};

/** beta_schedule, beta_start and beta_end of a class where the file says nothing. */
const BETAS = ['linear', 1e-4, 0.02] as const;
const LATENT_BETAS = ['scaled_linear', 0.00085, 0.012] as const;
const OWN_BETAS: Readonly<Record<string, readonly [string, number, number]>> = {
  LCMScheduler: LATENT_BETAS, TCDScheduler: LATENT_BETAS, HeunDiscreteScheduler: ['linear', 0.00085, 0.012],
};

const PREDICTIONS: Record<string, VariancePreserving['predictionType']> = { epsilon: 'epsilon', v_prediction: 'v', sample: 'sample' };

const flag = z.boolean().nullish().transform((value) => value ?? false);

/** The forward process. Values that are not known here are errors: without it nothing can be done. */
const processSchema = z.object({
  num_train_timesteps: z.int().min(2).max(100_000).default(1000),
  beta_start: z.number().positive().lt(1).optional(),
  beta_end: z.number().positive().lt(1).optional(),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2']).optional(),
  trained_betas: z.array(z.number().positive().lt(1)).min(2).max(100_000).nullish(),
  rescale_betas_zero_snr: flag,
  set_alpha_to_one: z.boolean().nullish(),
  prediction_type: z.enum(['epsilon', 'v_prediction', 'sample']).default('epsilon'),
  use_flow_sigmas: z.union([z.literal(false), z.null()], 'flows are another process').optional(),
});

/** Sampling. Values that are not known here are left out, and told. */
const samplingSchema = {
  timestep_spacing: z.enum(['leading', 'trailing', 'linspace']),
  steps_offset: z.int().min(0),
  use_karras_sigmas: flag,
  use_exponential_sigmas: flag,
  use_beta_sigmas: flag,
  use_lu_lambdas: flag,
  sigma_min: z.number().positive().nullable(),
  sigma_max: z.number().positive().nullable(),
  variance_type: z.enum(['fixed_small', 'fixed_small_log', 'fixed_large']).nullable(),
  algorithm_type: z.enum(['dpmsolver++', 'sde-dpmsolver++', 'deis']),
  solver_order: z.int().min(1).max(3),
  solver_type: z.enum(['midpoint', 'heun', 'bh1', 'bh2', 'logrho']),
  lower_order_final: z.boolean(),
  euler_at_final: z.boolean(),
  final_sigmas_type: z.enum(['zero', 'sigma_min']),
  original_inference_steps: z.int().min(1),
  timestep_scaling: z.number().positive(),
};
type Sampling = { -readonly [K in keyof typeof samplingSchema]?: z.infer<(typeof samplingSchema)[K]> };

/** Settings that only at these values change nothing. */
const UNCHANGED: Readonly<Record<string, readonly unknown[]>> = {
  clip_sample: [false], thresholding: [false], interpolation_type: ['linear'], timestep_type: ['discrete'], predict_x0: [true],
};
/** Settings of something that is switched off, or of PNDM's own start; DDIM has none. */
const INERT = [
  'clip_sample_range', 'dynamic_thresholding_ratio', 'sample_max_value', 'flow_shift', 'time_shift_type', 'skip_prk_steps',
];

const PROCESS = new Set(Object.keys(processSchema.shape));
/** Of more than these only the number is told. */
const MOST_TOLD = 8;

const isOff = (value: unknown): boolean =>
  value === null || value === false || value === undefined || (Array.isArray(value) && value.length === 0);

function readSampling(json: Readonly<Record<string, unknown>>, leastLambda: number): { sampling: Sampling; warnings: string[] } {
  const sampling: Record<string, unknown> = {};
  const warnings: string[] = [];
  let more = 0;
  const warn = (key: string, what: string): void => {
    if (warnings.length >= MOST_TOLD) more++;
    else warnings.push(`"${shown(key)}": ${shown(JSON.stringify(json[key]))} ${what}`);
  };
  for (const [key, value] of Object.entries(json)) {
    if (key.startsWith('_') || PROCESS.has(key) || INERT.includes(key)) continue;
    if (Object.hasOwn(samplingSchema, key)) {
      const parsed = samplingSchema[key as keyof typeof samplingSchema].safeParse(value);
      if (parsed.success) sampling[key] = parsed.data;
      else if (!isOff(value)) warn(key, 'is not known and left out');
    } else if (key === 'lambda_min_clipped') {
      if (typeof value === 'number' && value > leastLambda) warn(key, 'is not done: the noisiest times are visited too');
    } else if (!isOff(value) && !UNCHANGED[key]?.includes(value)) {
      warn(key, 'is not done');
    } else if (value === false && UNCHANGED[key]?.includes(true)) warn(key, 'is not done');
  }
  if (more > 0) warnings.push(`and ${more} more`);
  return { sampling: sampling as Sampling, warnings };
}

/**
 * The noise process and sampling defaults that a parsed `scheduler_config.json` describes.
 *
 * @param where the file's name, for messages
 * @throws FormatError if its noise schedule cannot be told or is of another kind
 */
export function readSchedulerConfig(file: Readonly<Record<string, unknown>>, where: string): SchedulerConfig {
  if (file['_class_name'] !== FLOW_SCHEDULER) return readVpConfig(file, where);
  return { ...readFlowConfig(file, where), sampler: 'flow-euler', warnings: [], instead: null };
}

/** The same for what only takes variance-preserving processes. @throws FormatError also for a flow */
export function readVpConfig(file: Readonly<Record<string, unknown>>, where: string): SchedulerConfig<VariancePreserving> {
  // Keys whose values are only the defaults of the class that wrote them; another class has its own.
  const { _use_default_values: given } = file;
  const defaults = new Set<unknown>(Array.isArray(given) ? given : []);
  const json = Object.fromEntries(Object.entries(file).filter(([key]) => !defaults.has(key)));
  const name = String(json['_class_name'] ?? 'missing').replace(/^Flax/, '');
  const known = Object.hasOwn(SAMPLERS, name);
  const telling = json['trained_betas'] != null || ['beta_schedule', 'beta_start', 'beta_end'].every((key) => key in json);
  // Their betas, where they have any, are left over from another class.
  if (/^(?:EDM|FlowMatch)/.test(name)) {
    throw new FormatError(where, `"_class_name": "${shown(name)}" is of another noise process`, name.startsWith('EDM')
      ? 'Models of EDM are trained on one that Attune does not have.'
      : name === FLOW_SCHEDULER ? 'Here only diffusion models are taken.' : `Of flow models the class ${FLOW_SCHEDULER} alone is read.`);
  }
  if (!known && !telling) {
    throw new FormatError(where, `"_class_name": ${shown(JSON.stringify(json['_class_name']) ?? 'missing')} is not known, and no ` +
      'noise schedule stands beside it (beta_schedule, beta_start, beta_end)', 'Write these three into the file if you know them.');
  }
  const config = parseConfig(processSchema, json, where);
  if (json['timestep_type'] === 'continuous' && config.prediction_type === 'v_prediction') {
    throw new FormatError(where, '"timestep_type": "continuous" means a network that is told log σ instead of times (EDM)',
      'This model uses something Attune does not have; see `attune list models` for what works.');
  }
  const own = OWN_BETAS[name] ?? BETAS;
  const { beta_schedule: kind = own[0], beta_start: start = own[1], beta_end: end = own[2] } = config;
  const plain = config.trained_betas
    ? Float32Array.from(config.trained_betas)
    : makeBetas(kind as 'linear', config.num_train_timesteps, start, end);
  const alphasCumprod = cumulativeAlphas(config.rescale_betas_zero_snr ? rescaleZeroTerminalSnr(plain) : plain);
  const least = alphasCumprod.at(-1)!;
  const { sampling, warnings } = readSampling(json, 0.5 * Math.log(least / (1 - least)));
  // Only these two clip where the file says nothing.
  if (/^DD[IP]M/.test(name) && json['clip_sample'] === undefined) warnings.push('"clip_sample" is missing, which means true, and is not done');
  const stochastic = sampling.algorithm_type === 'sde-dpmsolver++';
  if (stochastic && name === 'DPMSolverSinglestepScheduler') warnings.push('"algorithm_type": "sde-dpmsolver++" is not done singlestep');
  const sampler = known ? SAMPLERS[name]! : 'ddim';
  return {
    process: {
      kind: 'variance-preserving',
      alphasCumprod,
      finalAlphaCumprod: config.set_alpha_to_one ?? name !== 'PNDMScheduler' ? 1 : alphasCumprod[0]!,
      predictionType: PREDICTIONS[config.prediction_type]!,
    },
    sampler: sampler === 'dpm++2m' && stochastic ? 'dpm++2m-sde' : sampler,
    options: samplerOptionsOf(sampling),
    warnings,
    instead: known ? null : `${name === 'missing' ? 'the sampler that it does not name' : shown(name)} is not among the samplers; ${sampler} goes by its noise schedule instead`,
  };
}

/**
 * What to tell a user of a configuration, in a line each.
 *
 * @param chosen whether the user named a sampler, so that it is no matter which one the file names
 */
export function schedulerWarnings({ warnings, instead }: SchedulerConfig, where: string, chosen: boolean): string[] {
  return [
    ...(warnings.length === 0 ? [] : [`${where}: ${warnings.join('; ')}`]),
    ...(instead === null || chosen ? [] : [`${where}: ${instead} (--sampler NAME takes another; attune list samplers)`]),
  ];
}

function samplerOptionsOf(sampling: Sampling): SamplerOptions {
  const { variance_type: variance, solver_type: type } = sampling;
  const sigmas = sampling.use_karras_sigmas ? 'karras' : sampling.use_lu_lambdas ? 'lu'
    : sampling.use_exponential_sigmas ? 'exponential' : sampling.use_beta_sigmas ? 'beta' : null;
  return {
    stepsOffset: sampling.steps_offset ?? 0,
    ...(sampling.timestep_spacing && { spacing: sampling.timestep_spacing }),
    ...(sigmas && { sigmas }),
    ...(sampling.sigma_min && { sigmaMin: sampling.sigma_min }),
    ...(sampling.sigma_max && { sigmaMax: sampling.sigma_max }),
    ...(variance && { variance: variance === 'fixed_large' ? 'large' : 'small' }),
    ...(sampling.solver_order && { order: sampling.solver_order }),
    ...(type && type !== 'logrho' && { solverType: type }),
    ...(sampling.lower_order_final !== undefined && { lowerOrderFinal: sampling.lower_order_final }),
    ...(sampling.euler_at_final && { eulerAtFinal: true }),
    ...(sampling.final_sigmas_type && { finalSigma: sampling.final_sigmas_type === 'sigma_min' ? 'min' : 'zero' }),
    ...(sampling.original_inference_steps && { originalSteps: sampling.original_inference_steps }),
    ...(sampling.timestep_scaling && { timestepScaling: sampling.timestep_scaling }),
  };
}

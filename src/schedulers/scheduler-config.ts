/** @file Reads a diffusers `scheduler_config.json`: noise schedule, default sampler and its options. */
import { z } from 'zod';
import { FormatError } from '../formats/errors.js';
import { parseConfig } from '../models/config.js';
import type { SamplerName } from './index.js';
import { cumulativeAlphas, makeBetas, rescaleZeroTerminalSnr } from './noise-schedule.js';
import type { NoiseSchedule, PredictionType } from './noise-schedule.js';
import type { SamplerOptions } from './plan.js';

export interface SchedulerConfig {
  readonly schedule: NoiseSchedule;
  /** The sampler that the checkpoint names; DDIM in place of PNDM, whose configuration it inherits. */
  readonly sampler: SamplerName;
  /** What the file says about sampling, whichever sampler is used. What it leaves out is the sampler's own default. */
  readonly options: SamplerOptions;
}

const SAMPLERS = {
  PNDMScheduler: 'ddim',
  DDIMScheduler: 'ddim',
  DDPMScheduler: 'ddpm',
  EulerDiscreteScheduler: 'euler',
  EulerAncestralDiscreteScheduler: 'euler-a',
  DPMSolverMultistepScheduler: 'dpm++2m',
  LCMScheduler: 'lcm',
} as const satisfies Record<string, SamplerName>;

const PREDICTIONS: Record<string, PredictionType> = { epsilon: 'epsilon', v_prediction: 'v', sample: 'sample' };

/** A setting that changes nothing here at these values, and is not supported at others. */
const only = (...values: (string | number | boolean | null)[]) => z.literal(values).optional();
/** A setting of something that is switched off. */
const inert = z.unknown().optional();

const configSchema = z.strictObject({
  _class_name: z.enum(Object.keys(SAMPLERS) as (keyof typeof SAMPLERS)[]),
  _diffusers_version: inert,
  _use_default_values: inert,
  // The forward process.
  num_train_timesteps: z.int().min(2).max(100_000).default(1000),
  beta_start: z.number().positive().lt(1).optional(),
  beta_end: z.number().positive().lt(1).optional(),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2']).optional(),
  trained_betas: z.array(z.number().positive().lt(1)).min(2).max(100_000).nullish(),
  rescale_betas_zero_snr: z.boolean().default(false),
  set_alpha_to_one: z.boolean().default(true),
  prediction_type: z.enum(['epsilon', 'v_prediction', 'sample']).default('epsilon'),
  // Sampling.
  timestep_spacing: z.enum(['leading', 'trailing', 'linspace']).optional(),
  steps_offset: z.int().min(0).default(0),
  variance_type: z.enum(['fixed_small', 'fixed_large']).nullish(),
  algorithm_type: z.enum(['dpmsolver++', 'sde-dpmsolver++']).default('dpmsolver++'),
  solver_order: z.union([z.literal(1), z.literal(2)]).optional(),
  final_sigmas_type: z.enum(['zero', 'sigma_min']).optional(),
  original_inference_steps: z.int().min(1).optional(),
  timestep_scaling: z.number().positive().optional(),
  // Clean predictions are not clipped: samples are latents.
  clip_sample: only(false),
  clip_sample_range: inert,
  thresholding: only(false),
  dynamic_thresholding_ratio: inert,
  sample_max_value: inert,
  // Only the plain noise levels and the midpoint rule are there.
  interpolation_type: only('linear'),
  timestep_type: only('discrete'),
  use_karras_sigmas: only(false, null),
  use_exponential_sigmas: only(false, null),
  use_beta_sigmas: only(false, null),
  use_lu_lambdas: only(false, null),
  use_flow_sigmas: only(false, null),
  flow_shift: inert,
  use_dynamic_shifting: only(false, null),
  time_shift_type: inert,
  sigma_min: only(null),
  sigma_max: only(null),
  solver_type: only('midpoint'),
  lower_order_final: only(true),
  euler_at_final: only(false),
  lambda_min_clipped: z.custom((value) => value === -Infinity || value === null, 'expected -Infinity').optional(),
  // PNDM's own start; DDIM has none.
  skip_prk_steps: inert,
});

/**
 * The noise schedule and sampling defaults that a parsed `scheduler_config.json` describes.
 *
 * @param where the file's name, for messages
 * @throws FormatError naming the key that is unknown, wrong or not supported
 */
export function readSchedulerConfig(json: unknown, where: string): SchedulerConfig {
  const config = parseConfig(configSchema, json, where);
  const { _class_name: name } = config;
  // Only these two clip where the file says nothing.
  if ((name === 'DDIMScheduler' || name === 'DDPMScheduler') && config.clip_sample === undefined) {
    throw new FormatError(where, `has no "clip_sample", which for ${name} means that clean predictions are clipped`,
      'Latents must not be: add "clip_sample": false.');
  }
  const latent = name === 'LCMScheduler';
  const defaults = latent ? ['scaled_linear', 0.00085, 0.012] as const : ['linear', 1e-4, 0.02] as const;
  const { beta_schedule: kind = defaults[0], beta_start: start = defaults[1], beta_end: end = defaults[2] } = config;
  const plain = config.trained_betas
    ? Float32Array.from(config.trained_betas)
    : makeBetas(kind, config.num_train_timesteps, start, end);
  const alphasCumprod = cumulativeAlphas(config.rescale_betas_zero_snr ? rescaleZeroTerminalSnr(plain) : plain);
  const sampler = SAMPLERS[name];
  return {
    schedule: {
      alphasCumprod,
      finalAlphaCumprod: config.set_alpha_to_one ? 1 : alphasCumprod[0]!,
      predictionType: PREDICTIONS[config.prediction_type]!,
    },
    sampler: sampler === 'dpm++2m' && config.algorithm_type === 'sde-dpmsolver++' ? 'dpm++2m-sde' : sampler,
    options: {
      stepsOffset: config.steps_offset,
      ...(config.timestep_spacing && { spacing: config.timestep_spacing }),
      ...(config.variance_type && { variance: config.variance_type === 'fixed_large' ? 'large' : 'small' }),
      ...(config.solver_order && { order: config.solver_order }),
      ...(config.final_sigmas_type && { finalSigma: config.final_sigmas_type === 'sigma_min' ? 'min' : 'zero' }),
      ...(config.original_inference_steps && { originalSteps: config.original_inference_steps }),
      ...(config.timestep_scaling && { timestepScaling: config.timestep_scaling }),
    },
  };
}

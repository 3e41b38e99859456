/** @file Schedules and numbers shared by the tests of this folder. */
import { readVpConfig } from '../../src/schedulers/scheduler-config.js';
import type { SchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import type { VariancePreserving } from '../../src/schedulers/process.js';

/** Stable Diffusion 1.5's `scheduler_config.json`. */
export const SD15 = {
  _class_name: 'PNDMScheduler',
  _diffusers_version: '0.6.0',
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  beta_start: 0.00085,
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  trained_betas: null,
  clip_sample: false,
};

export const sd15 = (changes: Record<string, unknown> = {}): SchedulerConfig<VariancePreserving> =>
  readVpConfig({ ...SD15, ...changes }, 'scheduler_config.json');

/** Arbitrary numbers of about unit size. */
export const wave = (count: number, phase: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => 1.5 * Math.sin(1 + 12.9898 * i + 78.233 * phase));

/** Largest absolute difference. */
export const distance = (a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): number =>
  Math.max(...Array.from(a, (v, i) => Math.abs(Number(v) - Number(b[i]))));

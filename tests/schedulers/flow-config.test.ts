/** @file The scheduler's file of a flow model. */
import { expect, test } from 'vitest';
import { FormatError } from '../../src/formats/errors.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';

/** As the published files of Stable Diffusion 3 have it. */
const SD3 = {
  _class_name: 'FlowMatchEulerDiscreteScheduler', _diffusers_version: '0.29.0', base_image_seq_len: 256, base_shift: 0.5,
  invert_sigmas: false, max_image_seq_len: 4096, max_shift: 1.15, num_train_timesteps: 1000, shift: 3, shift_terminal: null,
  stochastic_sampling: false, time_shift_type: 'exponential', use_beta_sigmas: false, use_dynamic_shifting: false,
  use_exponential_sigmas: false, use_karras_sigmas: false,
};

test('it is a rectified flow with its shift, sampled by Euler', () => {
  const { process, sampler, options, warnings, instead } = readSchedulerConfig(SD3, 'f.json');
  expect({ process, sampler, options, warnings, instead }).toEqual({
    process: { kind: 'rectified-flow', predictionType: 'flow' }, sampler: 'flow-euler', options: { shift: 3 }, warnings: [], instead: null,
  });
  // diffusers 0.42: FlowMatchEulerDiscreteScheduler(shift=3).set_timesteps(4).timesteps
  const times = samplers['flow-euler'].plan(process as never, 4, options).steps.map((step) => step.timestep);
  const reference = [1000, 857.69232, 602.15057, 8.92857];
  times.forEach((time, i) => expect(time).toBeCloseTo(reference[i]!, 2));
});

test.each([
  ['use_dynamic_shifting', true], ['shift_terminal', 0.02], ['num_train_timesteps', 500], ['shift', -1], ['stochastic_sampling', true],
])('%s: %s is an error that names the key', (key, value) => {
  const read = (): unknown => readSchedulerConfig({ ...SD3, [key]: value }, 'f.json');
  expect(read).toThrow(FormatError);
  expect(read).toThrow(key);
});

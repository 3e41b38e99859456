/** @file `scheduler_config.json` files as published repositories have them, read as diffusers' Stable Diffusion pipeline does. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { pipelineScheduler } from '../../src/loading/load-folder.js';
import { sdxl } from '../../src/models/families/sdxl.js';
import { samplers } from '../../src/schedulers/index.js';
import type { SamplerOptions } from '../../src/schedulers/plan.js';
import { readVpConfig } from '../../src/schedulers/scheduler-config.js';

const folder = join(import.meta.dirname, 'scheduler_configs');
const read = async (name: string, index?: string, pipeline = 'StableDiffusionPipeline') => {
  const file = JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8')) as Record<string, unknown>;
  const scheduler = ['diffusers', index ?? file['_class_name']];
  return readVpConfig(pipelineScheduler({ _class_name: pipeline, scheduler }, file), name);
};

/** File, class of the index if it is another, the sampler, and what is read of sampling beside an offset of 1. */
const CASES: [string, string | undefined, string, SamplerOptions?][] = [
  ['steps_offset_1', undefined, 'ddim'],
  ['steps_offset_0', undefined, 'ddim'],
  ['steps_offset_absent', undefined, 'ddim'],
  ['index_euler_file_pndm', 'EulerDiscreteScheduler', 'euler'],
  ['euler_sigma_min', undefined, 'euler', { finalSigma: 'min' }],
  ['waifu_diffusion_timestep_values', undefined, 'ddim'],
  ['sd21_flax_ddim', 'DDIMScheduler', 'ddim'],
  ['clip_sample_true', undefined, 'ddim'],
  ['dpm_karras', undefined, 'dpm++2m', { sigmas: 'karras' }],
  ['dreamshaper_8_deis', undefined, 'deis', { order: 2, lowerOrderFinal: true }],
  ['unipc', undefined, 'unipc', { solverType: 'bh2' }],
  ['ddim_left_over_keys', undefined, 'ddim', { solverType: 'bh2' }],
];

test('every file is among the cases', async () => {
  expect((await readdir(folder)).toSorted()).toEqual(CASES.map(([name]) => `${name}.json`).toSorted());
});

test.each(CASES)('%s', async (name, index, sampler, options = {}) => {
  const config = await read(name, index);
  expect(config).toMatchObject({ sampler, warnings: [], instead: null });
  expect(config.options).toEqual({ stepsOffset: 1, ...options });
  // Whatever the file says, its noise schedule is SD 1.5's, and any sampler goes by it.
  const { process } = await read('steps_offset_1');
  expect(config.process.alphasCumprod).toEqual(process.alphasCumprod);
  expect(samplers.ddim.plan(config.process, 20, config.options).steps[0]!.timestep).toBe(951);
  expect(config.process.predictionType).toBe(name === 'sd21_flax_ddim' ? 'v' : 'epsilon');
});

test('a file of SDXL keeps its offset, and its clipping is warned of', async () => {
  const config = await read('clip_sample_true', undefined, 'StableDiffusionXLPipeline');
  expect(config.warnings).toEqual(['"clip_sample": true is not done']);
  expect((await read('steps_offset_0', undefined, 'StableDiffusionXLPipeline')).options.stepsOffset).toBe(0);
});

test('single files of SDXL have the schedule of its folder: Euler, leading, offset 1', () => {
  const { sampler, process, options, warnings } = readVpConfig(sdxl.singleFile!.published!.scheduler, 'sdxl');
  expect({ sampler, warnings }).toEqual({ sampler: 'euler', warnings: [] });
  const { initialStd, steps } = samplers.euler.plan(process, 20, options);
  expect(steps.map((s) => s.timestep)).toEqual(Array.from({ length: 20 }, (_, i) => 951 - 50 * i));
  expect(initialStd).toBe(1);
});

test('a file without an index decides by itself; values that were only defaults stay so', () => {
  const file = { _class_name: 'PNDMScheduler', beta_start: 0.1, timestep_spacing: 'leading', _use_default_values: ['steps_offset', 'timestep_spacing'] };
  expect(pipelineScheduler({ _class_name: 'StableDiffusionPipeline' }, { ...file, steps_offset: 0 })).toEqual(
    { ...file, steps_offset: 1, clip_sample: false, _use_default_values: ['timestep_spacing'] });
});

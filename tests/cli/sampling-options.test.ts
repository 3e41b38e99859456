/** @file What the flags of sampling make of a model's scheduler: the plan, and what is warned of. */
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { samplingSettings, withPromptFlags, withSamplerFlags } from '../../src/cli/sampling-options.js';
import type { SamplingFlags, SamplingSettings } from '../../src/cli/sampling-options.js';
import { loadPipeline } from '../../src/loading/load.js';
import { silent } from '../../src/runs/progress.js';
import { tiny } from './helpers.js';

const pipeline = await loadPipeline(tiny);

function settings(args: readonly string[], scheduler: Record<string, unknown> = {}): SamplingSettings & { warnings: string[] } {
  const command = withSamplerFlags(withPromptFlags(new Command()), 'seed', 'out').exitOverride()
    .parse(['--sampling-steps', '3', '--size', '64', ...args], { from: 'user' });
  const warnings: string[] = [];
  const model = { ...pipeline, scheduler: { ...pipeline.scheduler, ...scheduler } };
  const progress = { ...silent, warn: (text: string) => void warnings.push(text) };
  return { ...samplingSettings(model, ['a cat'], command.opts<SamplingFlags>(), progress, []), warnings };
}
const times = (...args: Parameters<typeof settings>): number[] => settings(...args).plan.steps.map((s) => Math.round(s.timestep));

test('spacing, noise levels and fresh noise are flags of the samplers that have them', () => {
  expect(times(['--sampler', 'euler'])).toEqual([999, 500, 0]);
  expect(times(['--sampler', 'euler', '--spacing', 'leading'])).toEqual([667, 334, 1]);
  expect(times(['--sampler', 'euler', '--spacing', 'trailing'])).toEqual([999, 666, 332]);
  expect(times(['--sampler', 'euler', '--sigmas', 'exponential'])[1]).toBeLessThan(400);
  expect(times(['--sampler', 'heun'])).toEqual([999, 500, 500, 0, 0]);
  const noise = (...args: string[]): number => settings(['--sampler', 'ddim', ...args]).plan.steps[0]!.std;
  expect(noise()).toBe(0);
  expect(noise('--eta', '1')).toBeGreaterThan(0.1);
  expect(() => settings(['--sampler', 'ddim', '--sigmas', 'karras'])).toThrow(
    '--sigmas is nothing to the sampler ddim; it is to euler, heun, lms, dpm++2m, dpm++2m-sde, dpm++2s, unipc, deis');
  expect(() => settings(['--sampler', 'ddim', '--eta', '2'])).toThrow(/--eta: /);
});

test('flags win over the file', () => {
  const file = { _class_name: 'EulerDiscreteScheduler', timestep_spacing: 'leading', use_karras_sigmas: true };
  const plain = times(['--sigmas', 'plain', '--spacing', 'trailing'], file);
  expect(plain).toEqual([999, 666, 332]);
  expect(times([], file)).not.toEqual(plain);
});

test('one step among nearly clean samples is warned of', () => {
  const one = ['--sampling-steps', '1', '--sampler', 'euler'];
  expect(settings([...one, '--spacing', 'leading']).warnings).toEqual([expect.stringMatching(/begins at time 1 of 999.*--spacing trailing/)]);
  expect(settings([...one, '--spacing', 'trailing']).warnings).toEqual([]);
});

test('a scheduler that is not there is warned of, unless another is asked for; what is not done, always', () => {
  const file = { _class_name: 'KDPM2DiscreteScheduler', thresholding: true };
  const [own, chosen] = [settings([], file), settings(['--sampler', 'ddim'], file)];
  const known = expect.stringMatching(/scheduler_config\.json: "thresholding": true is not done/);
  expect(own.warnings).toEqual([known, expect.stringMatching(/KDPM2DiscreteScheduler is not among the samplers; ddim .*--sampler NAME/)]);
  expect(chosen.warnings).toEqual([known]);
  expect(own.plan).toEqual(chosen.plan);
  expect(settings([], { _class_name: 'PNDMScheduler' }).warnings).toEqual([]);
});

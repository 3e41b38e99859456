/** @file A family of one's own, a flow model, registered and no more: loads, samples, trains a LoRA and is what its files say, by the code of all. */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { readLora } from '../../src/formats/lora-file.js';
import { host } from '../../src/graph/dtype.js';
import { componentShapes } from '../../src/models/components.js';
import type { ModelFamily } from '../../src/models/families/family.js';
import { initialWeights } from '../../src/models/init.js';
import { familyOf, loadPipeline } from '../../src/loading/load.js';
import { savePipeline } from '../../src/loading/save.js';
import { applyLoras } from '../../src/sampling/lora-apply.js';
import { defaultGuidance, defaultSize } from '../../src/sampling/defaults.js';
import { sampleImages } from '../../src/sampling/sampler.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { resolveConfig } from '../../src/training/config.js';
import { runTraining } from '../../src/training/run.js';
import { values } from '../../src/training/parameters.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import { scratch, tiny } from '../cli/helpers.js';
import { toy } from '../models/toy-family.js';
import type { ToyConfig } from '../models/toy-family.js';

const folder = scratch();
const model = join(folder, 'model');
const config: ToyConfig = { in_channels: 4, width: 8, layers: 2, words: 16, sample_size: 8 };

beforeAll(async () => {
  const base = await loadPipeline(tiny);
  const own = initialWeights(componentShapes('ToyTransformer', config), 0);
  const others = [...base.weights].filter(([name]) => !name.startsWith('unet.'));
  await savePipeline(model, {
    ...base, scheduler: { _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 3 }, family: toy as ModelFamily, denoiser: { kind: 'ToyTransformer', config },
    weights: new Map([...others, ...[...own].map(([name, t]) => [`transformer.${name}`, t] as const)]),
  }, 'float32');
});

async function pictures(pipeline: Pipeline): Promise<Float32Array> {
  const { process, options } = readSchedulerConfig(pipeline.scheduler, 'toy');
  const job = {
    prompts: ['a cat', 'a dog'], seed: 0, negativePrompt: '', guidance: 2, plan: samplers.ddim.plan(process, 2, options),
    height: 64, width: 48, batch: 2, compile: { device: 'cpu', threads: 1 } as const,
  };
  for await (const images of sampleImages(pipeline, job)) return Float32Array.from(images.flatMap(({ image }) => [...values(image)]));
  throw new Error('no images');
}

const distance = (a: Float32Array, b: Float32Array): number => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0);

test('it loads by its pipeline class, and brings its own defaults', async () => {
  const pipeline = await loadPipeline(model);
  expect(pipeline.family.name).toBe('toy');
  expect(pipeline.denoiser).toEqual({ kind: 'ToyTransformer', config });
  expect(pipeline.bundled).toBeNull();
  expect([...pipeline.weights.keys()].filter((name) => name.startsWith('transformer.blocks.1.attn.to_q'))).toHaveLength(2);
  expect([defaultGuidance(pipeline), defaultSize(pipeline)]).toEqual([3, [64, 64]]);
  const family = await familyOf(model);
  const settings = { model, rewards: ['symmetry'] };
  expect(resolveConfig(settings, [['guidance', 4]], family)).toMatchObject({ guidance: 4, samplingSteps: 3, lora: { targets: ['to_q', 'to_v', 'unpatch'] } });
  expect(resolveConfig(settings, [], await familyOf(tiny))).toMatchObject({ guidance: 5, samplingSteps: 20 });
});

test('its latents are whole patches', async () => {
  const pipeline = await loadPipeline(model);
  const job = { prompts: ['a cat'], seed: 0, negativePrompt: '', guidance: 1, height: 64, width: 40, batch: 1, compile: {} };
  const { process } = readSchedulerConfig(pipeline.scheduler, 'toy');
  await expect(sampleImages(pipeline, { ...job, plan: samplers.ddim.plan(process, 1, {}) }).next()).rejects.toThrow('multiples of 16');
});

test('every condition reaches its network: the prompt, and what is made of the settings', async () => {
  const pipeline = await loadPipeline(model);
  const usual = await pictures(pipeline);
  const without = (part: string): Pipeline => {
    const name = `transformer.${part}.weight`;
    const { data, shape } = pipeline.weights.get(name)!;
    return { ...pipeline, weights: new Map([...pipeline.weights, [name, host(new Float32Array(data.length), shape)]]) };
  };
  for (const part of ['summary_in', 'sides_in', 'blocks.0.attn.to_v']) expect(distance(usual, await pictures(without(part))), part).toBeGreaterThan(1e-4);
});

test('a LoRA on it trains two steps with DRaFT, is written in its dialects, and read back onto the model', { timeout: 240_000 }, async () => {
  const run = join(folder, 'run');
  const summary = await runTraining(resolveConfig({
    model, prompts: 'animals', rewards: ['symmetry'], method: { name: 'draft' }, steps: 2, batch: 2, threads: 1, lr: 0.05,
    evaluation: { every: 2, prompts: 1, images: 2, sweep: [], final: { prompts: 0 } },
  }, [], await familyOf(model)), run, {});
  expect(summary).toMatchObject({ steps: 2, ended: 'finished' });
  // The guard's measures are by the model itself, whatever it is.
  for (const e of [summary!.base, summary!.tuned]) expect([e.heldOutReward, e.diversity, e.frechet]).toEqual(Array(3).fill(expect.any(Number)));
  expect(summary!.lora.map((file) => file.slice(run.length + 1))).toEqual(
    ['lora/pytorch_lora_weights.safetensors', 'lora/peft'].map((file) => expect.stringContaining(file) as string));
  const pipeline = await loadPipeline(model);
  const before = await pictures(pipeline);
  const after: Float32Array[] = [];
  for (const file of summary!.lora) {
    await cp(file, join(folder, 'copies', file.slice(run.length)), { recursive: true });
    const { lora } = await readLora(file);
    expect([...lora.layers.keys()].toSorted()).toEqual([
      ...[0, 1].flatMap((i) => ['to_q', 'to_v'].map((name) => `transformer.blocks.${i}.attn.${name}`)), 'transformer.unpatch',
    ]);
    after.push(await pictures(await applyLoras(pipeline, [{ where: file, lora, strength: 1 }])));
  }
  expect(distance(before, after[0]!)).toBeGreaterThan(1e-3);
  expect(distance(after[0]!, after[1]!)).toBeLessThan(1e-5);
});

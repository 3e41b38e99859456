import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { host, sizeOf } from '../../src/graph/dtype.js';
import { componentShapes } from '../../src/models/components.js';
import { unetConfigSchema } from '../../src/models/config.js';
import type { ClipTextConfig, UNetConfig } from '../../src/models/config.js';
import type { ModelFamily } from '../../src/models/families/family.js';
import { sdxl } from '../../src/models/families/sdxl.js';
import { loadPipeline } from '../../src/loading/load.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import * as generator from '../../src/random/random.js';
import { defaultBatch } from '../../src/sampling/defaults.js';
import { parametersText } from '../../src/sampling/parameters-text.js';
import { sampleImages } from '../../src/sampling/sampler.js';
import type { SampleJob } from '../../src/sampling/sampler.js';
import { samplers } from '../../src/schedulers/index.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { loadFixture } from '../models/fixture.js';

const tiny = fileURLToPath(new URL('../fixtures/pipeline_sd1', import.meta.url));

vi.mock(import('../../src/random/random.js'), { spy: true });
afterEach(() => vi.mocked(generator.normal).mockReset());

/** The images of a job, two small ones by default. */
async function imagesOf(pipeline: Pipeline, job: Partial<SampleJob>, steps = 2): Promise<HostTensor[]> {
  const { process, options } = readSchedulerConfig(pipeline.scheduler, 'test');
  const images: HostTensor[] = [];
  const plan = samplers.ddim.plan(process, steps, options);
  const whole: SampleJob = {
    prompts: ['a cat', 'a dog'], seed: 0, negativePrompt: '', guidance: 3, plan, height: 64, width: 64, batch: 2,
    compile: { threads: 1 }, ...job,
  };
  for await (const batch of sampleImages(pipeline, whole)) images.push(...batch.map(({ image }) => image));
  return images;
}

const largest = (a: HostTensor, b: HostTensor): number =>
  (a.data as Float32Array).reduce((worst, v, i) => Math.max(worst, Math.abs(v - Number(b.data[i]))), 0);

/** Small random numbers for every weight of a kind. */
const random = (shapes: ReadonlyMap<string, readonly number[]>, prefix: string): [string, HostTensor][] =>
  [...shapes].map(([name, shape]) => {
    const values = generator.normal({ seed: 1, stream: prefix + name, step: 0 }, 0, sizeOf(shape));
    return [`${prefix}.${name}`, host(values.map((v) => 0.4 * v), shape)];
  });

test('images are those of diffusers from the same noise', async () => {
  const { meta, get } = await loadFixture('pipeline_sd1_expected');
  const { prompts, negative, steps, guidance } = meta as Record<'steps' | 'guidance', number>
    & { prompts: string[]; negative: string };
  const noise = get('in.latents').data as Float32Array;
  // Image i has seed i here, so its noise is asked for by that.
  vi.mocked(generator.normal).mockImplementation(({ seed }, _, count) => noise.slice(seed * count, (seed + 1) * count));
  const job = { prompts, negativePrompt: negative, guidance, height: 128, width: 64 };
  const images = await imagesOf(await loadPipeline(tiny), job, steps);
  const reference = get('out.images_uint8'); // [N, H, W, 3]
  const [count, height, width] = reference.shape as [number, number, number];
  expect(images.map(({ shape }) => shape)).toEqual(Array.from({ length: count }, () => [3, height, width]));
  const worst = images.reduce((top, { data }, i) => (data as Float32Array).reduce((most, v, k) => {
    const [channel, pixel] = [Math.floor(k / (height * width)), k % (height * width)];
    return Math.max(most, Math.abs(v * 255 - Number(reference.data[(i * height * width + pixel) * 3 + channel])));
  }, top), 0);
  expect(worst).toBeLessThan(1);
});

test('a consistency model gets its guidance as an input', async () => {
  const { meta, part } = await loadFixture('unet_lcm');
  const base = await loadPipeline(tiny);
  const own = [...part('param.')].map(([name, value]) => [`unet.${name}`, value] as const);
  const weights = new Map([...base.weights, ...own]);
  const pipeline = { ...base, denoiser: { ...base.denoiser, config: unetConfigSchema.parse(meta['config']) }, weights };
  const [low, high] = [await imagesOf(pipeline, { guidance: 1 }), await imagesOf(pipeline, { guidance: 8 })];
  expect(largest(low[0]!, high[0]!)).toBeGreaterThan(0.01);
});

test('guidance up to 1 is none, with the prompt: 0 is how Turbo models are told to be run', async () => {
  const pipeline = await loadPipeline(tiny);
  const none = await imagesOf(pipeline, { guidance: 1 });
  expect(largest(none[0]!, none[1]!)).toBeGreaterThan(1e-3); // two prompts
  for (const guidance of [0, 0.5]) expect(await imagesOf(pipeline, { guidance })).toEqual(none);
});

test('SDXL gets pooled text and sizes, batch by batch', async () => {
  const base = await loadPipeline(tiny);
  const [encoder] = base.textEncoders as [Pipeline['textEncoders'][0] & { config: ClipTextConfig }];
  const kind = 'CLIPTextModelWithProjection';
  const unet = unetConfigSchema.parse({
    ...base.denoiser.config as UNetConfig, block_out_channels: [4, 8], down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'],
    up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'], cross_attention_dim: 2 * encoder.config.hidden_size,
    addition_embed_type: 'text_time', addition_time_embed_dim: 8,
    projection_class_embeddings_input_dim: encoder.config.projection_dim + 6 * 8,
  });
  const pipeline: Pipeline = {
    ...base, family: sdxl as ModelFamily, denoiser: { ...base.denoiser, config: unet }, zeroEmptyNegative: true, textEncoders: [encoder, { ...encoder, name: 'text_encoder_2', kind }],
    weights: new Map([...base.weights, ...random(componentShapes('UNet2DConditionModel', unet), 'unet'),
      ...random(componentShapes(kind, encoder.config), 'text_encoder_2')]),
  };
  const [together, alone] = [await imagesOf(pipeline, { batch: 2 }), await imagesOf(pipeline, { batch: 1 })];
  expect(largest(together[0]!, alone[0]!)).toBeLessThan(1e-3);
  expect(largest(together[1]!, alone[1]!)).toBeLessThan(1e-3);
  const [other] = await imagesOf(pipeline, { prompts: ['a dog'], batch: 1 });
  expect(largest(together[0]!, other!)).toBeGreaterThan(1e-3);
});

test('an error thrown between steps ends the sampling', async () => {
  const seen: number[][] = [];
  const onStep = (done: number, total: number): void => {
    seen.push([done, total]);
    if (done === 3) throw new Error('enough');
  };
  await expect(imagesOf(await loadPipeline(tiny), { batch: 1, onStep })).rejects.toThrow('enough');
  expect(seen).toEqual([[1, 4], [2, 4], [3, 4]]);
});

test('batches are even, and single for large images', () => {
  expect(defaultBatch(16, 64, 64)).toBe(16);
  expect(defaultBatch(20, 64, 64)).toBe(10);
  expect(defaultBatch(3, 512, 512)).toBe(1);
});

test('generation parameters are quoted where they would end early', () => {
  const base = {
    negativePrompt: '', steps: 4, sampler: 'dpm++2m', guidance: 7.5, seed: 1, width: 8, height: 16, loras: [],
    version: 'x',
  } as const;
  expect(parametersText({ ...base, prompt: 'a: b, c', model: 'one, two' })).toBe(
    'a: b, c\nSteps: 4, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 1, Size: 8x16, Model: "one, two", Version: x');
  expect(parametersText({ ...base, prompt: 'a', model: 'm', vae: 'v', clipSkip: 1, sigmas: 'exponential', eta: 0.5 })).toBe(
    'a\nSteps: 4, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 1, Size: 8x16, Model: m, VAE: v, Clip skip: 2, Schedule type: Exponential, Eta: 0.5, Version: x');
  expect(parametersText({ ...base, prompt: 'a', model: 'm', clipSkip: 0, sigmas: 'plain' })).not.toMatch(/Clip|Schedule/);
  const lora = { name: 'l', strength: -0.5 };
  expect(parametersText({ ...base, prompt: '', model: 'm', loras: [lora] })).toMatch(/^<lora:l:-0.5>\nSteps/);
});

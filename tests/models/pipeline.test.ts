import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { joinConditions } from '../../src/models/denoiser.js';
import { decodeImages } from '../../src/models/latents.js';
import { loadPipeline } from '../../src/loading/load.js';
import { conditionInputs, denoiserOf, latentShape, partScope } from '../../src/models/pipeline.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import { encodePrompts, tokenize } from '../../src/models/prompt.js';
import { savePipeline } from '../../src/loading/save.js';
import { frozenWeights } from '../../src/nn/scope.js';
import { compile } from '../../src/runtime/compile.js';
import { samplers } from '../../src/schedulers/index.js';
import type { Step } from '../../src/schedulers/plan.js';
import { sample } from '../../src/schedulers/sample.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { stateFile } from '../formats/helpers.js';
import { loadFixture, maxError } from './fixture.js';
import type { Fixture } from './fixture.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const folder = join(fixtures, 'pipeline_sd1');
let expected: Fixture;
let scratch: string;

beforeAll(async () => {
  expected = await loadFixture('pipeline_sd1_expected');
  scratch = await mkdtemp(join(tmpdir(), 'attune-pipeline-'));
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

interface Meta {
  prompts: string[];
  negative: string;
  steps: number;
  guidance: number;
}
const meta = (): Meta => expected.meta as unknown as Meta;

/** Two images as diffusers makes them: DDIM, guided, from the fixture's noise. */
async function images(pipeline: Pipeline): Promise<{ latents: Float32Array[]; images: HostTensor }> {
  const { prompts, negative, steps, guidance } = meta();
  const shape = latentShape(pipeline, 2, 128, 64);
  const source = frozenWeights();
  const [x, t] = [input('x', shape), input('t', [4])];
  const conditions = [conditionInputs(pipeline, 2, 'negative.'), conditionInputs(pipeline, 2, 'positive.')] as const;
  const double = input('double', [4, ...shape.slice(1)]);
  const denoiser = denoiserOf(pipeline, source);
  const out = denoiser(double, t, joinConditions(...conditions));
  const options = { threads: 1, weights: pipeline.weights };
  const network = await compile({ outputs: { out } }, options);
  const decoded = decodeImages(partScope('vae', source), pipeline.vae, x);
  const decoder = await compile({ outputs: { images: decoded } }, options);
  const positive = await encodePrompts(pipeline, prompts, { threads: 1 });
  const none = await encodePrompts(pipeline, [negative, negative], { threads: 1 });
  const { process, options: settings } = readSchedulerConfig(pipeline.scheduler, 'test');
  const plan = samplers.ddim.plan(process, steps, settings);
  const latents: Float32Array[] = [];
  const size = shape.slice(1).reduce((a, b) => a * b);
  const noise = expected.get('in.latents').data as Float32Array;
  const denoise = async (values: Float32Array, step: Step): Promise<Float32Array> => {
    const doubled = new Float32Array([...values, ...values]);
    const results = await network.run({
      double: host(doubled, double.shape),
      t: host(new Float32Array(4).fill(step.timestep), [4]),
      'positive.context': positive.conditions['context']!,
      'negative.context': none.conditions['context']!,
    });
    const data = results.out.data as Float32Array;
    const half = data.length / 2;
    return Float32Array.from({ length: half }, (_, i) => data[i]! + guidance * (data[half + i]! - data[i]!));
  };
  const start = (_: number, item: number, count: number): Float32Array => noise.slice(item * count, (item + 1) * count);
  const result = await sample(denoise, plan, start, [0, 1], size, ({ next }) => void latents.push(next));
  const made = await decoder.run({ x: host(result, shape) });
  await Promise.all([network.release(), decoder.release()]);
  return { latents, images: made.images };
}

function expectSame(actual: Pipeline, wanted: Pipeline): void {
  const { weights, source: _, textEncoders: texts, ...rest } = actual;
  const { weights: wantedWeights, source: __, textEncoders: wantedTexts, ...wantedRest } = wanted;
  expect(rest).toEqual(wantedRest);
  expect(texts.map((t) => t.config)).toEqual(wantedTexts.map((t) => t.config));
  expect([...weights.keys()].toSorted()).toEqual([...wantedWeights.keys()].toSorted());
  for (const [name, { data }] of wantedWeights) {
    expect(bytes(weights.get(name)!.data).equals(bytes(data)), name).toBe(true);
  }
}

const bytes = (data: HostTensor['data']): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

async function expectReference(pipeline: Pipeline): Promise<void> {
  const made = await images(pipeline);
  const steps = expected.get('out.latents');
  const all = new Float32Array(made.latents.flatMap((l) => [...l]));
  expect(maxError(host(all, steps.shape), steps)).toBeLessThan(2e-3); // guidance 5 multiplies rounding at each step
  const reference = expected.get('out.images_uint8');
  const [count, height, width] = reference.shape as [number, number, number];
  let worst = 0;
  for (let i = 0; i < count; i++) {
    for (let p = 0; p < height * width; p++) {
      for (let c = 0; c < 3; c++) {
        const value = Number(made.images.data[(i * 3 + c) * height * width + p]) * 255;
        worst = Math.max(worst, Math.abs(value - Number(reference.data[(i * height * width + p) * 3 + c])));
      }
    }
  }
  expect(worst).toBeLessThan(1);
}

describe('a pipeline', () => {
  test('from a folder encodes prompts as diffusers does', async () => {
    const pipeline = await loadPipeline(folder);
    const { prompts, negative } = meta();
    const { ids } = tokenize(pipeline, [...prompts, negative]);
    expect(ids[0]!.data).toEqual(expected.get('out.input_ids').data);
    const { conditions: { context }, truncated } = await encodePrompts(pipeline, prompts, { threads: 1 });
    expect(maxError(context!, expected.get('out.prompt_embeds'))).toBeLessThan(1e-4);
    expect(truncated).toEqual([null, null]);
    const many = await encodePrompts(pipeline, new Array<string>(9).fill(negative), { threads: 1 });
    const last = (many.conditions['context']!.data as Float32Array).slice(-many.conditions['context']!.data.length / 9);
    expect(maxError(host(last, [1, 77, 16]), expected.get('out.negative_embeds'))).toBeLessThan(1e-4);
  });

  test('from a folder makes the images of diffusers', async () => {
    const progress: [number, number][] = [];
    const pipeline = await loadPipeline(folder, { onProgress: (done, total) => progress.push([done, total]) });
    expect(progress.at(-1)![0]).toBe(progress.at(-1)![1]);
    expect(progress.every(([done], i) => i === 0 || done >= progress[i - 1]![0])).toBe(true);
    await expectReference(pipeline);
  });

  test('from a single file with the original names is the same', async () => {
    const single = await loadPipeline(join(fixtures, 'single_file_sd1.safetensors'), { like: folder });
    expectSame(single, await loadPipeline(folder));
  });

  test('gets another VAE, or one where it has none, from a folder or a file of any names', async () => {
    const whole = await openSafetensors(join(fixtures, 'single_file_sd1.safetensors'));
    const tensors = [...await readAll(whole)];
    await whole.close();
    const bare = join(scratch, 'bare.safetensors');
    const isVae = ([key]: (typeof tensors)[number]): boolean => key.startsWith('first_stage_model.');
    await writeSafetensors(bare, tensors.filter((t) => !isVae(t)));
    await expect(loadPipeline(bare, { like: folder })).rejects.toThrow(/bare.safetensors: holds no vae.*--vae/);
    const vaes = tensors.filter(isVae).map(([key, t]) => [key.replace('first_stage_model.', ''), t] as const);
    const file = join(scratch, 'vae.pt');
    await writeFile(file, stateFile(vaes));
    const expected = await loadPipeline(folder);
    const own = join(folder, 'vae', 'diffusion_pytorch_model.safetensors');
    for (const vae of [folder, join(folder, 'vae'), file, own]) {
      expectSame(await loadPipeline(bare, { like: folder, vae }), expected);
    }
    const other = join(scratch, 'other.safetensors');
    await writeSafetensors(other, vaes.map(([key, { data, shape }]) => [key, host((data as Float32Array).map((v) => v / 2), shape)]));
    const changed = await loadPipeline(folder, { vae: other });
    expect(changed.vae).toEqual(expected.vae);
    for (const [name, { data }] of changed.weights) {
      const factor = name.startsWith('vae.') ? 0.5 : 1;
      expect(data[0], name).toBe(Math.fround(Number(expected.weights.get(name)!.data[0]) * factor));
    }
    await expect(loadPipeline(folder, { vae: join(folder, 'unet') })).rejects.toThrow(/"_class_name" is UNet2D/);
    await expect(loadPipeline(folder, { vae: 'nothing' })).rejects.toThrow(/nothing: is no folder, file or hub id.* VAE/);
    const unet = join(folder, 'unet', 'diffusion_pytorch_model.safetensors');
    await expect(loadPipeline(folder, { vae: unet })).rejects.toThrow(/holds no VAE/);
  });

  test('predicts what it is told to', async () => {
    const { scheduler } = await loadPipeline(folder, { prediction: 'v_prediction' });
    expect(readSchedulerConfig(scheduler, 'test').process.predictionType).toBe('v');
  });

  test('of the EDM kind is refused, also with --like', async () => {
    const path = join(scratch, 'edm.safetensors');
    await writeSafetensors(path, [['edm_mean', host(new Float32Array(4), [1, 4, 1, 1])]]);
    await expect(loadPipeline(path, { like: folder })).rejects.toThrow(/an EDM model as Playground/);
  });

  test('from a folder with PyTorch files only is the same', async () => {
    const at = join(scratch, 'bin');
    await cp(folder, at, { recursive: true });
    for (const [part, name] of [['unet', 'diffusion_pytorch_model'], ['vae', 'diffusion_pytorch_model'],
      ['text_encoder', 'model']] as const) {
      const path = join(at, part, `${name}.safetensors`);
      const source = await openSafetensors(path);
      const tensors = await readAll(source);
      await source.close();
      await rm(path);
      const bin = name === 'model' ? 'pytorch_model' : name;
      await writeFile(join(at, part, `${bin}.bin`), stateFile(tensors));
    }
    expectSame(await loadPipeline(at), await loadPipeline(folder));
  });

  test('is the same after saving and loading, in float16 within its rounding', async () => {
    const pipeline = await loadPipeline(folder);
    await savePipeline(join(scratch, 'full'), pipeline, 'float32');
    expectSame(await loadPipeline(join(scratch, 'full')), pipeline);
    await savePipeline(join(scratch, 'half'), pipeline);
    const half = await loadPipeline(join(scratch, 'half'));
    for (const [name, value] of pipeline.weights) {
      const stored = half.weights.get(name)!.data;
      const off = (v: number, i: number): boolean => Math.abs(Number(stored[i]) - v) > 1e-7 + Math.abs(v) / 2000;
      expect((value.data as Float32Array).findIndex(off), name).toBe(-1);
    }
  });

  test('with a scheduler as Python wrote it, -Infinity included, is read and written again', async () => {
    const at = join(scratch, 'dpm');
    await cp(folder, at, { recursive: true });
    const config = '{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "beta_end": 0.012}';
    await writeFile(join(at, 'scheduler', 'scheduler_config.json'), config);
    const index = await readFile(join(at, 'model_index.json'), 'utf8');
    await writeFile(join(at, 'model_index.json'), index.replace('PNDMScheduler', 'DPMSolverMultistepScheduler'));
    const pipeline = await loadPipeline(at);
    expect(readSchedulerConfig(pipeline.scheduler, 'test').sampler).toBe('dpm++2m');
    await savePipeline(join(scratch, 'dpm again'), pipeline);
    const written = await readFile(join(scratch, 'dpm again', 'scheduler', 'scheduler_config.json'), 'utf8');
    expect(written).toContain('"lambda_min_clipped": -Infinity,');
  });
});

describe('bad input', () => {
  /** A copy of the pipeline to damage. */
  async function copy(name: string): Promise<string> {
    const to = join(scratch, name);
    await cp(folder, to, { recursive: true });
    return to;
  }
  const edit = async (path: string, change: (json: Record<string, unknown>) => unknown): Promise<void> => {
    const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    change(json);
    await writeFile(path, JSON.stringify(json));
  };
  const editWeights = async (path: string, change: (tensors: Map<string, HostTensor>) => unknown): Promise<void> => {
    const source = await openSafetensors(path);
    const tensors = await readAll(source);
    await source.close();
    change(tensors);
    await writeSafetensors(path, tensors);
  };

  test.each([
    ['an unknown key', 'unet/config.json', { new_thing: 3 }, /unet.config\.json: unknown key "new_thing"/],
    ['an unsupported value', 'unet/config.json', { class_embed_type: 'x' }, /"class_embed_type": "x" is not supported/],
    ['an unsupported block', 'unet/config.json', { up_block_types: ['AttnUp'] }, /"up_block_types\.0": "AttnUp"/],
    ['lists of different length', 'unet/config.json', { block_out_channels: [4] }, /down_block.*4 entries for 1 block/],
    ['another class', 'model_index.json', { unet: ['diffusers', 'FluxTransformer'] }, /"unet" is a FluxTransformer/],
    ['an unknown component', 'model_index.json', { controlnet: ['diffusers', 'Net'] }, /unknown key "controlnet"/],
    ['another pipeline', 'model_index.json', { _class_name: 'FluxPipeline' }, /"_class_name" is FluxPipeline/],
    ['another activation', 'text_encoder/config.json', { hidden_act: 'tanh' }, /config\.json: "hidden_act": "tanh"/],
    ['parts of another width', 'unet/config.json', { cross_attention_dim: 20 }, /width 20, the text encoders give 16/],
    ['an inpainting U-Net', 'unet/config.json', { in_channels: 9 }, /takes 9 channels, the VAE has 4/],
    ['a wrong vocabulary', 'text_encoder/config.json', { vocab_size: 20 }, /text_encoder knows 20 tokens/],
  ])('%s is named with its file', async (name, file, change, message) => {
    const at = await copy(name);
    await edit(join(at, file), (json) => Object.assign(json, change));
    await expect(loadPipeline(at)).rejects.toThrow(message);
  });

  test('missing, unexpected and misshaped weights are listed', async () => {
    const at = await copy('weights');
    await editWeights(join(at, 'unet', 'diffusion_pytorch_model.safetensors'), (tensors) => {
      tensors.delete('conv_in.bias');
      tensors.set('conv_out.weight', host(new Float32Array(4), [2, 2]));
      tensors.set('extra', host(new Float32Array(1), [1]));
    });
    const error = await loadPipeline(at).catch((e: unknown) => e as Error) as Error;
    expect(error.message).toMatch(/"conv_in.bias" is missing/);
    expect(error.message).toMatch(/"conv_out.weight" is \[2, 2\], not \[4, \d+, 3, 3\]/);
    expect(error.message).toMatch(/"extra" is not expected/);
    expect(error.message).toContain(join(at, 'unet'));
  });

  test('a single file without a tokenizer at hand says how to name one, and only single files want that', async () => {
    const file = join(fixtures, 'single_file_sd1.safetensors');
    vi.stubEnv('HF_HUB_CACHE', scratch);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    const published = join(scratch, 'published.safetensors');
    const blocks = 'model.diffusion_model.input_blocks';
    await writeSafetensors(published, [
      [`${blocks}.0.0.weight`, host(new Float32Array(4), [1, 4, 1, 1])],
      [`${blocks}.1.1.transformer_blocks.0.attn2.to_k.weight`, host(new Float32Array(768), [1, 768])],
    ]);
    await expect(loadPipeline(published)).rejects.toThrow(/published.*no tokenizer in it.*HF_HUB_OFFLINE.*--like/);
    await expect(loadPipeline(file)).rejects.toThrow(/text states of width 16\..*--like/);
    vi.unstubAllEnvs();
    await expect(loadPipeline(file, { like: 'nothing' })).rejects.toThrow(/nothing: is no folder or hub id/);
    await expect(loadPipeline(folder, { like: folder })).rejects.toThrow(/tells itself.*--like/);
  });

  test('what is no model at all says what would be', async () => {
    await expect(loadPipeline('no such thing')).rejects.toThrow(/no folder, file or hub id.*emoji/);
    await expect(loadPipeline(scratch)).rejects.toThrow(/model_index\.json/);
    await expect(loadPipeline(join(fixtures, 'unet_sd1.safetensors'))).rejects.toThrow(/model\.diffusion_model/);
  });
});

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { readLora } from '../../src/formats/lora-file.js';
import { rankOf, scaleOf } from '../../src/formats/lora.js';
import type { LoraFile } from '../../src/formats/lora.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { unetConfigSchema } from '../../src/models/config.js';
import { encodePrompts } from '../../src/models/prompt.js';
import { loadPipeline } from '../../src/loading/load.js';
import { unet } from '../../src/models/unet.js';
import type { UNetInputs } from '../../src/models/unet.js';
import { loraAdapter } from '../../src/nn/lora.js';
import type { LoraPlan } from '../../src/nn/lora.js';
import { loraFromFile, loraToFile, mergeLora } from '../../src/nn/lora-values.js';
import { frozenWeights, rootScope } from '../../src/nn/scope.js';
import { compile } from '../../src/runtime/compile.js';
import { loadFixture, maxError } from './fixture.js';
import type { Fixture } from './fixture.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const INPUTS = { sample: 'latents', encoder_hidden_states: 'context', text_embeds: 'pooled', time_ids: 'sizes' };

/** The plan that a LoRA file asks for. */
const planOfFile = ({ layers }: LoraFile): LoraPlan => (path) => {
  const layer = layers.get(path);
  return layer && { rank: rankOf(layer), factor: scaleOf(layer) };
};

/** The weights of a fixture's U-Net as a pipeline names them. */
const weightsOf = (fixture: Fixture): Map<string, HostTensor> =>
  new Map([...fixture.part('param.')].map(([name, value]) => [`unet.${name}`, value]));

/** Compiles a fixture's U-Net with LoRAs from files; runs it at given strengths. */
async function withLoras(variant: string, loras: readonly LoraFile[], weights?: ReadonlyMap<string, HostTensor>) {
  const fixture = await loadFixture(`unet_${variant}`);
  const config = unetConfigSchema.parse(fixture.meta['config']);
  const times = Float32Array.from(fixture.get('in.timestep').data as BigInt64Array, Number);
  const feeds: Record<string, HostTensor> = { timestep: host(times, [2]) };
  const inputs: Record<string, ReturnType<typeof input>> = { timestep: input('timestep', [2]) };
  for (const [theirs, ours] of Object.entries(INPUTS)) {
    const value = fixture.tensors.get(`in.${theirs}`);
    if (!value) continue;
    inputs[ours] = input(ours, value.shape);
    feeds[ours] = value;
  }
  const adapters = loras.map((lora, i) => loraAdapter(`lora${i}`, planOfFile(lora)));
  const out = unet(rootScope(frozenWeights(), adapters, 'unet'), config, inputs as unknown as UNetInputs);
  adapters.forEach((adapter, i) => {
    for (const [name, value] of loraFromFile(adapter, loras[i]!, 'test')) feeds[name] = value;
  });
  const executable = await compile({ outputs: { out } }, { threads: 1, weights: weights ?? weightsOf(fixture) });
  const run = async (...strengths: number[]): Promise<HostTensor> => {
    const scales = strengths.map((s, i) => [`lora${i}.scale`, host(new Float32Array([s]), [])]);
    return (await executable.run({ ...feeds, ...Object.fromEntries(scales) })).out;
  };
  return { fixture, adapters, feeds, run, release: () => executable.release() };
}

const TOLERANCE = 1e-4;

const FILES = {
  sd1: ['lora_sd1_diffusers.safetensors', 'lora_sd1_diffusers_old.safetensors', 'lora_sd1_kohya.safetensors',
    'lora_sd1_kohya_no_alpha.safetensors', 'lora_sd1_kohya_wide.safetensors', 'lora_sd1_peft'],
  sdxl: ['lora_sdxl_diffusers.safetensors', 'lora_sdxl_kohya.safetensors'],
};

const read = async (file: string): Promise<LoraFile> => (await readLora(join(fixtures, file))).lora;

// All of them sit on one U-Net at once; those not asked for have strength 0.
test.each(['sd1', 'sdxl'] as const)('LoRA files of %s change the U-Net as the reference does', async (variant) => {
  const expected = await loadFixture('lora_expected');
  const files = FILES[variant];
  const model = await withLoras(variant, await Promise.all(files.map(read)));
  for (const [i, file] of files.entries()) {
    for (const [label, strength] of [['1', 1], ['05', 0.5]] as const) {
      const made = await model.run(...files.map((_, j) => (i === j ? strength : 0)));
      const reference = expected.get(`${file}/out.scale_${label}`);
      expect(maxError(made, reference), file).toBeLessThan(TOLERANCE);
      expect(maxError(reference, model.fixture.get('out.base')), `${file} has an effect`).toBeGreaterThan(0.3);
    }
  }
  expect(maxError(await model.run(...files.map(() => 0)), model.fixture.get('out.base'))).toBeLessThan(TOLERANCE);
  await model.release();
});

test.each([
  'lora_sd1_kohya_text_encoder.safetensors', 'lora_sd1_diffusers_text_encoder.safetensors', 'lora_sd1_peft_text_encoder',
])('a LoRA of the text encoder changes the prompt as in diffusers: %s', async (file) => {
  const lora = await read(file);
  const pipeline = await loadPipeline(join(fixtures, 'pipeline_sd1'));
  const adapter = loraAdapter('a', planOfFile(lora));
  const { prompts } = (await loadFixture('pipeline_sd1_expected')).meta as { prompts: string[] };
  // Traced once for its inputs' shapes, which the values of the file must fit.
  const scale = host(new Float32Array([1]), []);
  pipeline.family.conditions.encode(pipeline, [input('ids', [1, 77], 'int64')], frozenWeights(), [adapter]);
  const feeds = { ...Object.fromEntries(loraFromFile(adapter, lora, file)), 'a.scale': scale };
  const { conditions: { context } } = await encodePrompts(pipeline, prompts, { adapters: [adapter], feeds, threads: 1 });
  const expected = (await loadFixture('lora_expected')).get(`${file}/out.prompt_embeds`);
  expect(maxError(context!, expected)).toBeLessThan(TOLERANCE);
});

test('two LoRAs at once are the same as both merged, whatever their strengths', async () => {
  const [wide, plain] = [await read('lora_sd1_kohya_wide.safetensors'), await read('lora_sd1_peft')];
  const model = await withLoras('sd1', [wide, plain]);
  const once = await mergeLora(weightsOf(model.fixture), wide, -0.4, 'wide');
  const twice = await mergeLora(once, plain, 1.5, 'plain');
  const merged = await withLoras('sd1', [], twice);
  expect(maxError(await model.run(-0.4, 1.5), await merged.run())).toBeLessThan(TOLERANCE);
  expect(once.get('unet.conv_in.weight')).toBe(model.fixture.get('param.conv_in.weight'));
  await Promise.all([model.release(), merged.release()]);

  const file = loraToFile(model.adapters[0]!, new Map(Object.entries(model.feeds)), { baseModel: 'sd1', metadata: {} });
  expect(file.layers.size).toBe(wide.layers.size);
  for (const [path, { down, up, alpha }] of file.layers) {
    const original = wide.layers.get(path)!;
    expect([down.data, up.data, alpha], path).toEqual([original.down.data, original.up.data, original.alpha]);
  }
});

test('a LoRA for another architecture is refused with the layers that do not fit', async () => {
  const lora = await read('lora_sdxl_kohya.safetensors');
  await expect(withLoras('sd1', [lora])).rejects.toThrow(/does not fit this model .*no such layer/);
  const weights = weightsOf(await loadFixture('unet_sd1'));
  await expect(mergeLora(weights, lora, 1, 'x.safetensors')).rejects.toThrow(/^x\.safetensors: layer "unet\./);
});

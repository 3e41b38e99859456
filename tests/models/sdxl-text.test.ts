/** @file SDXL's two text encoders with embeddings, clip skip and LoRAs: text states equal to those of diffusers. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { readLora } from '../../src/formats/lora-file.js';
import { clipTextConfigSchema, unetConfigSchema } from '../../src/models/config.js';
import type { ModelFamily } from '../../src/models/families/family.js';
import { sdxl } from '../../src/models/families/sdxl.js';
import { loadPipeline } from '../../src/loading/load.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import { encodePrompts } from '../../src/models/prompt.js';
import { readEmbeddings } from '../../src/loading/embeddings.js';
import { withEmbeddings } from '../../src/models/text-embeddings.js';
import { applyLoras } from '../../src/sampling/lora-apply.js';
import { loadFixture, maxError } from './fixture.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const reference = await loadFixture('sdxl_text');
const { prompts, config } = reference.meta as { prompts: string[]; config: object };

/** The tiny pipeline's text encoder, and the fixture's as the second one. */
async function twoEncoders(clipSkip?: number): Promise<Pipeline> {
  const one = await loadPipeline(`${fixtures}pipeline_sd1`);
  const [first] = one.textEncoders;
  const second = {
    ...first!, name: 'text_encoder_2' as const, kind: 'CLIPTextModelWithProjection' as const, config: clipTextConfigSchema.parse(config),
  };
  const unet = unetConfigSchema.parse({
    addition_embed_type: 'text_time', addition_time_embed_dim: 8, projection_class_embeddings_input_dim: 58, cross_attention_dim: 24,
  });
  const weights = [...reference.part('param.')].map(([name, value]) => [`text_encoder_2.${name}`, value] as const);
  return {
    ...one, family: sdxl as ModelFamily, denoiser: { kind: 'UNet2DConditionModel', config: unet }, textEncoders: [first!, second],
    weights: new Map([...one.weights, ...weights]), ...(clipSkip !== undefined && { clipSkip }),
  };
}

async function expectCase(name: string, pipeline: Pipeline): Promise<void> {
  const { conditions } = await encodePrompts(pipeline, prompts, { threads: 1 });
  expect(maxError(conditions['context']!, reference.get(`out.${name}.context`)), 'context').toBeLessThan(2e-5);
  expect(maxError(conditions['pooled']!, reference.get(`out.${name}.pooled`)), 'pooled').toBeLessThan(2e-5);
}

test.each([[undefined, 'None'], [0, '0'], [1, '1']] as const)('clip skip %s', async (clipSkip, name) => {
  await expectCase(`skip_${name}`, await twoEncoders(clipSkip));
});

test('a word with vectors for both encoders', async () => {
  const uses = await readEmbeddings([`${fixtures}sdxl_text_embedding.safetensors:<two>`]);
  await expectCase('words', withEmbeddings(await twoEncoders(), uses));
});

test.each(['diffusers', 'kohya'])('a LoRA of both encoders in the dialect %s', async (dialect) => {
  const where = `${fixtures}sdxl_text_lora_${dialect}.safetensors`;
  const { lora, unknown, missing } = await readLora(where);
  expect([unknown, missing, lora.baseModel]).toEqual([[], [], 'sdxl']);
  const pipeline = await twoEncoders();
  await expectCase(dialect, await applyLoras(pipeline, [{ where, lora, strength: 1 }]));
  // The LoRA changes both halves of the context and the pooled text.
  const plain = reference.get('out.skip_None.context');
  expect(maxError(reference.get(`out.${dialect}.context`), plain)).toBeGreaterThan(0.1);
  expect(maxError(reference.get(`out.${dialect}.pooled`), reference.get('out.skip_None.pooled'))).toBeGreaterThan(0.1);
});

import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { clipTextConfigSchema, unetConfigSchema, vaeConfigSchema } from '../../src/models/config.js';
import type { Pipeline, TextEncoder } from '../../src/models/pipeline.js';
import { encodePrompts } from '../../src/models/prompt.js';
import { sdxl, sizesOf } from '../../src/models/families/sdxl.js';
import type { ModelFamily } from '../../src/models/families/family.js';
import type { Tokenizer } from '../../src/models/tokenizer.js';
import { loadFixture, maxError } from './fixture.js';

const LENGTH = 12;

/** A pipeline with SDXL's two encoders; the prompt "1" stands for row 1 of the fixtures' token ids, "" for row 2. */
async function sdxlPipeline(): Promise<{ pipeline: Pipeline; context: HostTensor[]; pooled: HostTensor }> {
  const [first, second] = await Promise.all([loadFixture('clip_text_sd1'), loadFixture('clip_text_sdxl2')]);
  const ids = first!.get('in.input_ids').data as BigInt64Array;
  const encode = (text: string): ReturnType<Tokenizer['encode']> => {
    const row = text === '' ? 2 : Number(text);
    const tokens = Int32Array.from(ids.slice(row * LENGTH, (row + 1) * LENGTH), Number);
    return { ids: tokens, truncated: text === '1' ? 'end' : null };
  };
  const tokenizer = { encode, maxLength: LENGTH } as Tokenizer;
  const encoders = [first!, second!].map((fixture, i) => ({
    name: i === 0 ? 'text_encoder' : 'text_encoder_2',
    kind: i === 0 ? 'CLIPTextModel' : 'CLIPTextModelWithProjection',
    config: clipTextConfigSchema.parse(fixture.meta['config']),
    tokenizer,
    tokenizerFiles: { folder: '', overrides: {} },
  }) as TextEncoder);
  const weights = new Map([first!, second!].flatMap((fixture, i) =>
    [...fixture.part('param.')].map(([name, value]) => [`${encoders[i]!.name}.${name}`, value] as const)));
  const unet = unetConfigSchema.parse({
    addition_embed_type: 'text_time', addition_time_embed_dim: 8, projection_class_embeddings_input_dim: 58,
    cross_attention_dim: 32,
  });
  return {
    pipeline: {
      source: 'test',
      family: sdxl as ModelFamily,
      bundled: null,
      denoiser: { kind: 'UNet2DConditionModel', config: unet },
      vae: { kind: 'AutoencoderKL', config: vaeConfigSchema.parse({}) },
      textEncoders: encoders,
      scheduler: {},
      zeroEmptyNegative: true,
      weights,
    },
    context: [first!.get('out.penultimate'), second!.get('out.penultimate')],
    pooled: second!.get('out.text_embeds'),
  };
}

test('SDXL joins the last states but one of both encoders; pooled is the projection of the second', async () => {
  const { pipeline, context, pooled } = await sdxlPipeline();
  const { conditions: encoded, truncated } = await encodePrompts(pipeline, ['0', '1', ''], { threads: 1 });
  expect(encoded['context']!.shape).toEqual([3, LENGTH, 32]);
  const half = (offset: number): HostTensor => {
    const data = encoded['context']!.data as Float32Array;
    return host(data.filter((_, i) => i % 32 >= offset && i % 32 < offset + 16), [3, LENGTH, 16]);
  };
  expect(maxError(half(0), context[0]!)).toBeLessThan(1e-4);
  expect(maxError(half(16), context[1]!)).toBeLessThan(1e-4);
  expect(maxError(encoded['pooled']!, pooled)).toBeLessThan(1e-4);
  expect(truncated).toEqual([null, 'end', null]);
});

test('the empty negative prompt of SDXL base is zeros, another is encoded', async () => {
  const { pipeline } = await sdxlPipeline();
  const { conditions: { context, pooled } } = await encodePrompts(pipeline, ['', '0'], { threads: 1, negative: true });
  const zero = (t: HostTensor, row: number): boolean => {
    const size = t.data.length / 2;
    return (t.data as Float32Array).subarray(row * size, (row + 1) * size).every((v) => v === 0);
  };
  expect([zero(context!, 0), zero(pooled!, 0), zero(context!, 1), zero(pooled!, 1)]).toEqual([true, true, false, false]);
});

test('SDXL is told the size of a whole picture', () => {
  expect([...sizesOf(2, 512, 768).data].map(Number)).toEqual([512, 768, 0, 0, 512, 768, 512, 768, 0, 0, 512, 768]);
});

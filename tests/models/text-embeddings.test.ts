/** @file Textual Inversion and clip skip: text states equal to those of diffusers; files and words of every kind. */
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { loadPipeline } from '../../src/loading/load.js';
import type { Pipeline } from '../../src/models/pipeline.js';
import { encodePrompts } from '../../src/models/prompt.js';
import { readEmbeddings } from '../../src/loading/embeddings.js';
import { withEmbeddings } from '../../src/models/text-embeddings.js';
import { applyLoras } from '../../src/sampling/lora-apply.js';
import { loadFixture, maxError } from './fixture.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const tiny = join(fixtures, 'pipeline_sd1');
const reference = await loadFixture('embedding_expected');
const { prompts, negative } = reference.meta as { prompts: string[]; negative: string };
const TWO = join(fixtures, 'embedding_diffusers.bin');
const STYLE = `${join(fixtures, 'embedding_a1111.pt')}:small-style`;

const folder = await mkdtemp(join(tmpdir(), 'attune-embeddings-'));
afterAll(() => rm(folder, { recursive: true }));

const states = async (pipeline: Pipeline): Promise<HostTensor> => (await encodePrompts(pipeline, prompts, { threads: 1 })).conditions['context']!;

describe('text states are those of diffusers', () => {
  test.each([undefined, 0, 1])('with words of one and several vectors, clip skip %s', async (clipSkip) => {
    const pipeline = await loadPipeline(tiny, { embeddings: [TWO, STYLE], clipSkip });
    const name = clipSkip ?? 'None';
    expect(maxError(await states(pipeline), reference.get(`out.context_${name}`))).toBeLessThan(2e-5);
    const { conditions: { context } } = await encodePrompts(pipeline, [negative], { threads: 1, negative: true });
    expect(maxError(context!, reference.get(`out.negative_${name}`))).toBeLessThan(2e-5);
  });

  test('also where a LoRA brings the words along', async () => {
    const pipeline = await loadPipeline(tiny);
    const embeddings = new Map((await readEmbeddings([TWO, STYLE])).map(({ token, parts }) => [token, parts]));
    const applied = await applyLoras(pipeline, [{ where: 'x', strength: 0, lora: { layers: new Map(), metadata: {}, embeddings } }]);
    expect(maxError(await states(applied), reference.get('out.context_None'))).toBeLessThan(2e-5);
    expect(maxError(await states(pipeline), reference.get('out.context_None'))).toBeGreaterThan(0.1);
  });
});

describe('an embedding', () => {
  test('goes by its own word, its file\'s name, or the one that is given', async () => {
    const plain = join(folder, 'my-style.safetensors');
    await copyFile(join(fixtures, 'embedding_comfy.safetensors'), plain);
    const uses = await readEmbeddings([TWO, plain, `${plain}:other`]);
    expect(uses.map(({ token, parts }) => [token, [...parts].map(([name, { shape }]) => [name, shape])])).toEqual([
      ['<two>', [['text_encoder', [2, 16]]]], ['my-style', [['text_encoder', [3, 16]]]], ['other', [['text_encoder', [3, 16]]]],
    ]);
    expect(uses[1]!.parts.get('text_encoder')!.data).toEqual((await readEmbeddings([STYLE]))[0]!.parts.get('text_encoder')!.data);
  });

  test('of SDXL has vectors for both text encoders', async () => {
    const path = join(folder, 'xl.safetensors');
    const rows = (n: number): HostTensor => host(new Float32Array(2 * n).fill(0.5), [2, n]);
    await writeSafetensors(path, new Map([['clip_l', rows(16)], ['clip_g', rows(20)]]), {});
    const [use] = await readEmbeddings([path]);
    const one = await loadPipeline(tiny);
    const { config } = one.textEncoders[0]!;
    const second = { ...one.textEncoders[0]!, name: 'text_encoder_2' as const, config: { ...config, hidden_size: 20, vocab_size: 600 } };
    const table = 'text_encoder_2.text_model.embeddings.token_embedding.weight';
    const weights = new Map([...one.weights, [table, host(new Float32Array(600 * 20), [600, 20])]]);
    const both = withEmbeddings({ ...one, weights, textEncoders: [one.textEncoders[0]!, second] }, [use!]);
    const ids = (i: number): number[] => Array.from(both.textEncoders[i]!.tokenizer.encode('XL').ids.subarray(1, 4));
    expect(ids(0)).toEqual([config.vocab_size, config.vocab_size + 1, 565]);
    expect(ids(1)).toEqual([600, 601, 565]);
    expect(both.weights.get(table)!.shape).toEqual([602, 20]);
  });

  test('whose word is part of common ones is a word of its own only', async () => {
    const { textEncoders: [encoder] } = await loadPipeline(tiny, { embeddings: [`${TWO}:cat`] });
    const plain = (await loadPipeline(tiny)).textEncoders[0]!.tokenizer;
    const size = encoder!.config.vocab_size;
    expect(Array.from(encoder!.tokenizer.encode('a cat').ids.subarray(1, 4))).toEqual([plain.encode('a').ids[1], size - 2, size - 1]);
    expect(encoder!.tokenizer.encode('cats').ids).toEqual(plain.encode('cats').ids);
  });

  test.each([
    ['missing.pt', /missing\.pt: does not exist/],
    [join(tiny, 'unet', 'diffusion_pytorch_model.safetensors'), /is no embedding; its keys are like/],
    [`${TWO}:<|endoftext|>`, /the embedding's word "<\|endoftext\|>" is taken already/],
  ])('%s is refused', async (embedding, message) => {
    await expect(loadPipeline(tiny, { embeddings: [embedding] })).rejects.toThrow(message);
  });

  test('twice, of another width or without end is refused', async () => {
    await expect(loadPipeline(tiny, { embeddings: [TWO, TWO] })).rejects.toThrow(/"<two>" is taken already/);
    const wide = join(folder, 'wide.safetensors');
    await writeSafetensors(wide, new Map([['emb_params', host(new Float32Array(8), [1, 8])]]), {});
    await expect(loadPipeline(tiny, { embeddings: [wide] })).rejects.toThrow(/has vectors of 8 numbers, the text encoder of .* takes 16/);
    await writeSafetensors(wide, new Map([['emb_params', host(new Float32Array(16).fill(NaN), [1, 16])]]), {});
    await expect(loadPipeline(tiny, { embeddings: [wide] })).rejects.toThrow(/wide\.safetensors/);
    await expect(loadPipeline(tiny, { clipSkip: 9 })).rejects.toThrow(/too few layers of text for a clip skip of 9\. Give at most/);
  });
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { leftOut, leftOutText } from '../../src/formats/lora-dialects/left-out.js';
import { readLora, writeLora } from '../../src/formats/lora-file.js';
import { openSafetensors } from '../../src/formats/safetensors.js';
import { fromFloat32, host, type HostTensor } from '../../src/graph/dtype.js';
import { plain, scratch, tensor } from './helpers.js';
import { ATTN, Q, TEXT, pair, readKeys, sample } from './lora-samples.js';

const folder = scratch();
const SHORT = TEXT.replace('text_model.', '');
const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

async function keysOf(path: string): Promise<string[]> {
  const source = await openSafetensors(path);
  await source.close();
  return [...source.tensors.keys()].sort();
}

describe('text encoders', () => {
  const up = (down: string): string => down.replace('lora_A', 'lora_B').replace('down', 'up');
  it.each([
    ['diffusers with transformers 5', `text_encoder.${SHORT}.mlp.fc1.lora_A.weight`, `text_encoder.${TEXT}.mlp.fc1`],
    ['before', `text_encoder.${TEXT}.mlp.fc1.lora_A.weight`, `text_encoder.${TEXT}.mlp.fc1`],
    ['the second', `text_encoder_2.${TEXT}.mlp.fc1.lora_A.weight`, `text_encoder_2.${TEXT}.mlp.fc1`],
    ['older names', `text_encoder.${SHORT}.mlp.fc1.lora_linear_layer.down.weight`, `text_encoder.${TEXT}.mlp.fc1`],
    ['attention processors', `text_encoder.${SHORT}.self_attn.to_q_lora.down.weight`, `text_encoder.${TEXT}.self_attn.q_proj`],
    ['a raw adapter', `${SHORT}.mlp.fc1.lora_A.default.weight`, `text_encoder.${TEXT}.mlp.fc1`],
    ['kohya by diffusers', 'lora_te1_encoder_layers_0_self_attn_q_proj.lora_down.weight', `text_encoder.${TEXT}.self_attn.q_proj`],
    ['ComfyUI, SD 1.x', `text_encoders.clip_l.transformer.${TEXT}.mlp.fc1.lora_down.weight`, `text_encoder.${TEXT}.mlp.fc1`],
    ['ComfyUI, SD 2.x', `text_encoders.clip_h.transformer.${TEXT}.mlp.fc1.lora_down.weight`, `text_encoder.${TEXT}.mlp.fc1`],
    ['ComfyUI, the second', `text_encoders.clip_g.transformer.${TEXT}.mlp.fc1.lora_down.weight`, `text_encoder_2.${TEXT}.mlp.fc1`],
  ])('are read in the spelling of %s', async (_, key, module) => {
    const { lora, unknown, missing } = await readKeys(folder, 'spelling', pair(key, up(key)));
    expect([[...lora.layers.keys()], unknown, missing]).toEqual([[module], [], []]);
  });

  it('take alpha from settings in either spelling', async () => {
    const key = `text_encoder.${SHORT}.mlp.fc1`;
    for (const name of [`${SHORT}.mlp.fc1`, 'fc1']) {
      const settings = { 'text_encoder.lora_alpha': 4, 'text_encoder.alpha_pattern': { [name]: 2 } };
      const { lora } = await readKeys(folder, 'pattern', pair(`${key}.lora_A.weight`, `${key}.lora_B.weight`),
        { lora_adapter_metadata: JSON.stringify(settings) });
      expect(lora.layers.get(`text_encoder.${TEXT}.mlp.fc1`)!.alpha).toBe(2);
    }
  });

  it('may have both spellings if the numbers are the same', async () => {
    const [long, short] = [`text_encoder.${TEXT}.mlp.fc1`, `text_encoder.${SHORT}.mlp.fc1`];
    const both = {
      ...pair(`${long}.lora_A.weight`, `${long}.lora_B.weight`), ...pair(`${short}.lora_A.weight`, `${short}.lora_B.weight`),
      ...pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`),
    };
    const { lora, unknown } = await readKeys(folder, 'both', both);
    expect([[...lora.layers.keys()].sort(), unknown]).toEqual([[long, Q], []]);
    const other = await readKeys(folder, 'contradiction', { ...both, [`${long}.lora_A.weight`]: tensor([4, 8], 9) });
    expect([...other.lora.layers.keys()]).toEqual([Q]);
    expect(leftOut(other).layers).toBe(1);
  });

  it('are written for PEFT under both names where a version needs the other one', async () => {
    const path = join(folder, 'peft');
    await writeLora(path, sample('sdxl'), 'peft');
    const keys = await keysOf(join(path, 'text_encoder', 'adapter_model.safetensors'));
    expect(keys).toEqual([SHORT, TEXT].flatMap((block) => ['mlp.fc1', 'self_attn.out_proj'].flatMap((module) =>
      ['A', 'B'].map((m) => `base_model.model.${block}.${module}.lora_${m}.weight`))));
    expect(await keysOf(join(path, 'text_encoder_2', 'adapter_model.safetensors'))).toEqual(
      ['A', 'B'].map((m) => `base_model.model.${TEXT}.self_attn.q_proj.lora_${m}.weight`));
    for (const encoder of ['text_encoder', 'text_encoder_2']) {
      const config = JSON.parse(readFileSync(join(path, encoder, 'adapter_config.json'), 'utf8')) as { target_modules: string[] };
      expect(config.target_modules.every((name) => name.startsWith('encoder.layers.'))).toBe(true);
    }
  });

  it('come from today\'s libraries with all their layers, from a PyTorch file too', async () => {
    const files = ['lora_sd1_kohya_text_encoder.safetensors', 'lora_sd1_diffusers_text_encoder.safetensors',
      'lora_sd1_peft_text_encoder'];
    const [first, ...others] = await Promise.all(files.map((name) => readLora(fixture(name))));
    for (const { lora, unknown, missing } of others) {
      expect([unknown, missing]).toEqual([[], []]);
      expect([...lora.layers.keys()].sort()).toEqual([...first!.lora.layers.keys()].sort());
      for (const [module, { down, up, alpha }] of first!.lora.layers) {
        const found = lora.layers.get(module)!;
        expect([plain(found.down), plain(found.up), found.alpha]).toEqual([plain(down), plain(up), alpha]);
      }
    }
  });
});

describe('what is left out', () => {
  it('is told by layers, component and cause', async () => {
    const unet = (name: string): string => `lora_unet_${ATTN.replaceAll('.', '_')}_attn1_${name}`;
    const text = 'lora_te1_text_model_encoder_layers_0_mlp_fc';
    const reading = await readKeys(folder, 'left', {
      ...pair(`${unet('to_q')}.lora_down.weight`, `${unet('to_q')}.lora_up.weight`),
      ...pair(`${unet('to_k')}.lora_down.weight`, `${unet('to_k')}.lora_up.weight`), [`${unet('to_k')}.dora_scale`]: tensor([8]),
      [`${unet('to_v')}.lora_down.weight`]: tensor([4, 8]),
      ...Object.fromEntries(['hada_w1_a', 'hada_w1_b', 'alpha'].map((part) => [`${text}1.${part}`, tensor([1])])),
      ...Object.fromEntries(['hada_w1_a', 'hada_w1_b', 'alpha'].map((part) => [`${text}2.${part}`, tensor([1])])),
      'lora_te2_strange_layer.lora_down.weight': tensor([4, 8]), 'lora_te2_strange_layer.lora_up.weight': tensor([8, 4]),
      'transformer.blocks.0.proj.lora_A.weight': tensor([1]), 'transformer.blocks.0.proj.lora_B.weight': tensor([1]),
    });
    const { layers, kinds } = leftOut(reading);
    expect([layers, kinds[0], Object.fromEntries(kinds)]).toEqual([6, ['text_encoder (LoHa)', 2], {
      'text_encoder (LoHa)': 2, 'unet (DoRA)': 1, 'unet (a matrix is missing)': 1,
      'text_encoder_2 (names not understood)': 1, 'no known part (names not understood)': 1,
    }]);
    expect(leftOutText(reading)).toMatch(/^6 of 7 layers are left out: 2 of text_encoder \(LoHa\), /);
    expect(leftOutText(await readKeys(folder, 'whole', pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`)))).toBeUndefined();
  });

  it('is told where nothing is left', async () => {
    const keys = Object.fromEntries(['hada_w1_a', 'alpha'].map((part) => [`lora_te1_text_model_encoder_layers_0_mlp_fc1.${part}`, tensor([1])]));
    await expect(readKeys(folder, 'loha', keys)).rejects.toThrow(/can be used \(1 of text_encoder \(LoHa\)\); its keys/);
  });
});

describe('NaN and infinity', () => {
  const [A, B] = [`${Q}.lora_A.weight`, `${Q}.lora_B.weight`];
  const spoiled = (value: number, dtype: 'float32' | 'float16' | 'bfloat16'): HostTensor =>
    fromFloat32(Float32Array.from({ length: 32 }, (_, i) => (i % 16 === 7 ? value : 1)), [8, 4], dtype);
  it.each([[NaN, 'float32'], [Infinity, 'float16'], [-Infinity, 'bfloat16'], [NaN, 'float16']] as const)(
    '%s in %s is refused with file and layer', async (value, dtype) => {
      await expect(readKeys(folder, 'nan', { ...pair(A, B), [B]: spoiled(value, dtype) })).rejects.toThrow(
        /nan\.safetensors: layer "unet\..*attn1\.to_q": holds NaN or infinity \(2 of the 32 numbers of up\)/);
    });
});

describe('bundled embeddings', () => {
  const matrices = pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`);
  const text = pair(`text_encoder_2.${TEXT}.mlp.fc1.lora_A.weight`, `text_encoder_2.${TEXT}.mlp.fc1.lora_B.weight`);
  it('are read by token and text encoder, and written where there is a place for them', async () => {
    const reading = await readKeys(folder, 'embeddings', {
      ...matrices, ...text, 'bundle_emb.style.clip_l': tensor([2, 768], 1), 'bundle_emb.style.clip_g': tensor([2, 1280], 2),
      'bundle_emb.cat.string_to_param.*': tensor([768], 3),
    });
    expect([reading.unknown, leftOutText(reading)]).toEqual([[], undefined]);
    const shapes = (lora: typeof reading.lora) => Object.fromEntries([...lora.embeddings!].map(([token, parts]) =>
      [token, Object.fromEntries([...parts].map(([encoder, { shape }]) => [encoder, shape]))]));
    const expected = { style: { text_encoder: [2, 768], text_encoder_2: [2, 1280] }, cat: { text_encoder: [1, 768] } };
    expect(shapes(reading.lora)).toEqual(expected);
    const path = join(folder, 'embeddings-kohya.safetensors');
    await writeLora(path, reading.lora, 'kohya');
    expect((await keysOf(path)).filter((key) => key.startsWith('bundle_emb'))).toEqual(
      ['bundle_emb.cat.string_to_param.*', 'bundle_emb.style.clip_g', 'bundle_emb.style.clip_l']);
    const { lora } = await readLora(path);
    expect(shapes(lora)).toEqual(expected);
    expect(plain(lora.embeddings!.get('cat')!.get('text_encoder')!)).toEqual(plain(tensor([1, 768], 3)));
    await writeLora(path, reading.lora, 'diffusers'); // whose reader refuses other keys
    expect((await readLora(path)).lora.embeddings).toBeUndefined();
  });

  it.each([
    ['a number', tensor([]), /embedding "x": is float32 \[\], not rows of floats/],
    ['integers', host(new Int32Array(4), [1, 4], 'int32'), /is int32 \[1, 4\], not rows of floats/],
    ['NaN', host(Float32Array.of(1, NaN), [1, 2]), /embedding "x": holds NaN or infinity \(1 of the 2/],
  ])('of %s are refused', async (_, value, reason) => {
    await expect(readKeys(folder, 'bad-embedding', { ...matrices, 'bundle_emb.x.clip_l': value })).rejects.toThrow(reason);
  });
});

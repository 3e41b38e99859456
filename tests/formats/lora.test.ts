import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { parseDotted } from '../../src/formats/lora-dialects/dotted.js';
import { parseKohya } from '../../src/formats/lora-dialects/kohya.js';
import { LORA_DIALECTS, readLora, writeLora } from '../../src/formats/lora-file.js';
import { scaleOf, type LoraFile } from '../../src/formats/lora.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import { UNETS, clipText, diffusersUNet, ldmUNet } from './architectures.js';
import { expectSturdy, pickle, plain, random, scratch, tensor, zip } from './helpers.js';
import { ATTN, Q, TEXT, expectSameEffect, layer, pair, readKeys, sample } from './lora-samples.js';

const folder = scratch();

const comparable = (lora: LoraFile) => Object.fromEntries([...lora.layers].sort().map(([module, l]) => (
  [module, { down: plain(l.down), up: plain(l.up), alpha: l.alpha }]
)));

async function keysOf(path: string): Promise<string[]> {
  const source = await openSafetensors(path);
  await source.close();
  return [...source.tensors.keys()].sort();
}

const FAMILIES = ['sd1', 'sd2', 'sdxl'] as const;

describe('round trips', () => {
  it.each(LORA_DIALECTS.flatMap((dialect) => FAMILIES.map((family) => [dialect, family] as const)))(
    '%s, %s', async (dialect, family) => {
      const lora = sample(family, dialect === 'diffusers-old');
      const path = join(folder, `round-${dialect}-${family}`);
      const written = await writeLora(path, lora, dialect);
      for (const file of written) expect(readFileSync(file).length).toBeGreaterThan(0);
      const back = await readLora(path);
      expect(back.dialect).toBe(dialect);
      expect([back.unknown, back.missing]).toEqual([[], []]);
      if (dialect === 'peft') expect(comparable(back.lora)).toEqual(comparable(lora));
      expectSameEffect(back.lora, lora);
      expect(back.lora.baseModel).toBe(family);
      expect(back.lora.metadata).toMatchObject(lora.metadata);
      // a second pass changes nothing at all
      const again = join(folder, `again-${dialect}-${family}`);
      const rewritten = await writeLora(again, back.lora, dialect);
      for (const [i, file] of written.entries()) {
        expect(readFileSync(rewritten[i]!).equals(readFileSync(file))).toBe(true);
      }
    });

  it.each(['diffusers', 'diffusers-old'] as const)('%s: scale and lower ranks go into the matrices', async (dialect) => {
    const lora = sample();
    const path = join(folder, `folded-${dialect}.safetensors`);
    await writeLora(path, lora, dialect);
    // As programs see it that read the matrices alone, with one alpha for all layers of a component.
    const source = await openSafetensors(path);
    const bare = await readKeys(folder, 'folded-bare', Object.fromEntries(await readAll(source)));
    await source.close();
    expectSameEffect(bare.lora, lora);
    for (const [module, { down, up }] of bare.lora.layers) {
      const rank = module.startsWith('unet.') ? 8 : 4;
      expect([down.shape[0], up.shape[1]], module).toEqual([rank, rank]);
    }
  });

  it('kohya: one alpha in each component, where it is not zero', async () => {
    const lora = sample();
    const layers = new Map(lora.layers);
    const none = layer(8, 8, 4, 0, 20);
    layers.set(`text_encoder.${TEXT}.mlp.fc2`, none).set(`text_encoder.${TEXT}.mlp.fc1`, layer(8, 32, 4, 2, 8));
    const path = join(folder, 'one-alpha.safetensors');
    await writeLora(path, { ...lora, layers }, 'kohya');
    const { lora: back } = await readLora(path);
    expectSameEffect(back, { ...lora, layers });
    const alphas = new Map([...back.layers].map(([module, { alpha }]) => [`${module.split('.')[0]!} ${alpha}`, 1]));
    expect([...alphas.keys()].sort()).toEqual(['text_encoder 4', 'unet 4']);
    expect(back.layers.get(`unet.${ATTN}.ff.net.0.proj`)!.down.shape[0]).toBe(8); // ranks stay
    const zeros = { ...lora, layers: new Map([[Q, none]]) };
    await writeLora(path, zeros, 'kohya');
    expect((await readLora(path)).lora.layers.get(Q)!.alpha).toBe(0);
  });
});

describe('kohya', () => {
  it('names modules as sd-scripts does', async () => {
    const path = join(folder, 'kohya-names.safetensors');
    const ends = ['alpha', 'lora_down.weight', 'lora_up.weight'];
    const full = (names: string[]) => names.flatMap((name) => ends.map((end) => `${name}.${end}`)).sort();
    await writeLora(path, sample('sd1'), 'kohya');
    expect(await keysOf(path)).toEqual(full([
      'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q',
      'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0',
      'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k',
      'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_ff_net_0_proj',
      'lora_unet_mid_block_resnets_1_conv2',
      'lora_te_text_model_encoder_layers_0_self_attn_out_proj', 'lora_te_text_model_encoder_layers_0_mlp_fc1',
    ]));
    await writeLora(path, sample('sdxl'), 'kohya');
    expect(await keysOf(path)).toEqual(full([
      'lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q',
      'lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_out_0',
      'lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k',
      'lora_unet_input_blocks_1_1_transformer_blocks_0_ff_net_0_proj',
      'lora_unet_middle_block_2_out_layers_3',
      'lora_te1_text_model_encoder_layers_0_self_attn_out_proj', 'lora_te1_text_model_encoder_layers_0_mlp_fc1',
      'lora_te2_text_model_encoder_layers_0_self_attn_q_proj',
    ]));
  });

  it.each(['sd1', 'sd2', 'sdxl'] as const)('resolves every underscored module of %s', (family) => {
    const modules = (names: string[]) => [...new Set(names.map((name) => name.replace(/\.(weight|bias)$/, '')))];
    for (const [prefix, component, names] of [
      ['lora_unet', 'unet', diffusersUNet(UNETS[family])], ['lora_te', 'text_encoder', clipText(24)],
      ['lora_te2', 'text_encoder_2', clipText(32, true)],
    ] as const) {
      for (const module of modules([...names]).filter((name) => !/norm|embeddings/.test(name))) {
        expect(parseKohya(`${prefix}_${module.replaceAll('.', '_')}.lora_down.weight`)).toEqual(
          { module: `${component}.${module}`, part: 'down' });
      }
    }
    // and by the original code's names
    const ours = new Set(modules(diffusersUNet(UNETS[family])));
    for (const module of modules(ldmUNet(UNETS[family])).filter((name) => !/norm/.test(name))) {
      const parsed = parseKohya(`lora_unet_${module.replaceAll('.', '_')}.alpha`);
      expect(ours.delete(parsed!.module.replace('unet.', ''))).toBe(true);
    }
  });

  it('without alpha has scale 1, with half the rank half', async () => {
    const key = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';
    const matrices = pair(`${key}.lora_down.weight`, `${key}.lora_up.weight`);
    const without = await readKeys(folder, 'no-alpha', matrices);
    expect(scaleOf(without.lora.layers.get(Q)!)).toBe(1);
    const integer = host(BigInt64Array.of(2n), [], 'int64'); // so diffusers' converter writes it
    for (const two of [host(Uint16Array.of(0x4000), [], 'float16'), host(Float32Array.of(2), [1]), integer]) {
      const halved = await readKeys(folder, 'half-alpha', { ...matrices, [`${key}.alpha`]: two });
      expect(scaleOf(halved.lora.layers.get(Q)!)).toBe(0.5);
    }
  });

  it.each([['lora_te_', 'text_encoder'], ['lora_te1_', 'text_encoder'], ['lora_te2_', 'text_encoder_2']])(
    'reads %s as %s', async (prefix, component) => {
      const key = `${prefix}text_model_encoder_layers_11_self_attn_q_proj`;
      const { lora } = await readKeys(folder, 'te', pair(`${key}.lora_down.weight`, `${key}.lora_up.weight`));
      expect([...lora.layers.keys()]).toEqual([`${component}.text_model.encoder.layers.11.self_attn.q_proj`]);
    });

  it('reports what it does not understand and what is missing', async () => {
    const name = (module: string) => `lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_${module}`;
    const reading = await readKeys(folder, 'odd-keys', {
      ...pair(`${name('to_q')}.lora_down.weight`, `${name('to_q')}.lora_up.weight`),
      [`${name('to_k')}.lora_down.weight`]: tensor([4, 8]),
      [`${name('to_k').replace('attn1', 'attn2')}.lora_down.weight`]: tensor([4, 8]),
      [`${name('to_v')}.alpha`]: tensor([]),
      ...pair(`${name('to_out_0')}.lora_down.weight`, `${name('to_out_0')}.lora_up.weight`),
      [`${name('to_out_0')}.dora_scale`]: tensor([8]),
      [`${name('to_out_0')}.lora_mid.weight`]: tensor([4, 4]),
      'lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight': tensor([4, 8]),
      'bundle_emb.x': tensor([1]),
      [`${name('to_k')}.constructor`]: tensor([1]),
    });
    expect([...reading.lora.layers.keys()]).toEqual([Q]);
    expect([...reading.missing].sort()).toEqual([
      `unet.${ATTN}.attn1.to_v: down and up`, `unet.${ATTN}.attn2.to_k: up`,
    ]);
    expect([...reading.unknown].sort()).toEqual([
      'bundle_emb.x', `${name('to_k')}.constructor`, `${name('to_k')}.lora_down.weight`,
      `${name('to_out_0')}.dora_scale`, `${name('to_out_0')}.lora_mid.weight`,
      `${name('to_out_0')}.lora_down.weight`, `${name('to_out_0')}.lora_up.weight`,
      'lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight',
    ].sort());
  });
});

describe('diffusers', () => {
  it('writes the keys and settings of diffusers', async () => {
    const path = join(folder, 'diffusers.safetensors');
    const targets = { unet: ['to_q', 'to_k', 'to_out.0', 'ff.net.0.proj', 'conv2'] };
    await writeLora(path, sample(), 'diffusers', { targets });
    const source = await openSafetensors(path);
    await source.close();
    expect([...source.tensors.keys()].filter((key) => key.startsWith('unet.')).sort()).toEqual([
      'attn1.to_out.0', 'attn1.to_q', 'attn2.to_k', 'ff.net.0.proj',
    ].flatMap((m) => [`unet.${ATTN}.${m}.lora_A.weight`, `unet.${ATTN}.${m}.lora_B.weight`]).concat(
      'unet.mid_block.resnets.1.conv2.lora_A.weight', 'unet.mid_block.resnets.1.conv2.lora_B.weight'));
    expect(source.metadata.format).toBe('pt');
    const text = source.metadata.lora_adapter_metadata!;
    expect(text.startsWith('{\n  "text_encoder.alpha_pattern": {}')).toBe(true);
    expect(JSON.parse(text)).toMatchObject({
      'unet.r': 8, 'unet.lora_alpha': 8, 'unet.peft_type': 'LORA', 'unet.use_rslora': false, 'unet.bias': 'none',
      'unet.rank_pattern': {}, 'unet.alpha_pattern': {},
      'unet.target_modules': ['conv2', 'ff.net.0.proj', 'to_k', 'to_out.0', 'to_q'],
      'text_encoder.target_modules': ['encoder.layers.0.mlp.fc1', 'encoder.layers.0.self_attn.out_proj'],
    });
    expect(Object.keys(JSON.parse(text) as object).filter((key) => key.startsWith('text_encoder_2.'))).toEqual([]);
  });

  it('reads the names of every age', async () => {
    const t = `text_encoder.${TEXT}`;
    const reading = await readKeys(folder, 'ages', {
      ...pair(`unet.${ATTN}.attn1.to_q.lora.down.weight`, `unet.${ATTN}.attn1.to_q.lora.up.weight`),
      ...pair(`unet.${ATTN}.attn1.to_k.lora_A.weight`, `unet.${ATTN}.attn1.to_k.lora_B.weight`),
      ...pair(`unet.${ATTN}.attn1.processor.to_v_lora.down.weight`, `unet.${ATTN}.attn1.processor.to_v_lora.up.weight`),
      ...pair(`${ATTN}.attn1.processor.to_out_lora.down.weight`, `${ATTN}.attn1.processor.to_out_lora.up.weight`),
      ...pair(`unet.${ATTN}.attn2.to_q.lora_A.default.weight`, `unet.${ATTN}.attn2.to_q.lora_B.default.weight`),
      ...pair(`${t}.mlp.fc1.lora_linear_layer.down.weight`, `${t}.mlp.fc1.lora_linear_layer.up.weight`),
      ...pair(`${t}.self_attn.to_out_lora.down.weight`, `${t}.self_attn.to_out_lora.up.weight`),
      ...pair(`${t}.self_attn.to_k_lora.down.weight`, `${t}.self_attn.to_k_lora.up.weight`),
      'unet.strange.lora.down.weight': tensor([1]),
    });
    expect([...reading.lora.layers.keys()].sort()).toEqual([
      ...['attn1.to_k', 'attn1.to_out.0', 'attn1.to_q', 'attn1.to_v', 'attn2.to_q'].map((m) => `unet.${ATTN}.${m}`),
      ...['mlp.fc1', 'self_attn.k_proj', 'self_attn.out_proj'].map((m) => `${t}.${m}`),
    ].sort());
    expect(reading.unknown).toEqual(['unet.strange.lora.down.weight']);
    for (const { down, up } of reading.lora.layers.values()) expect([down.shape, up.shape]).toEqual([[4, 8], [8, 4]]);
    for (const found of reading.lora.layers.values()) expect(scaleOf(found)).toBe(1);
  });

  it.each([
    ['prefixed settings', { 'unet.r': 4, 'unet.lora_alpha': 8, 'text_encoder.lora_alpha': 1 }, 8],
    ['settings of one model', { r: 4, lora_alpha: 6 }, 6],
    ['alpha by module', { 'unet.lora_alpha': 4, 'unet.alpha_pattern': { 'attn1.to_q': 3, to_q: 2 } }, 3],
    ['alpha by full name', { 'unet.lora_alpha': 4, 'unet.alpha_pattern': { q: 9, [`^${ATTN}.attn1.to_q`]: 5 } }, 5],
    ['rank-stabilised', { 'unet.lora_alpha': 4, 'unet.use_rslora': true }, 8], // 4 / √4 = 8 / 4
    ['settings of the text encoder only', { 'text_encoder.lora_alpha': 9 }, 4],
  ])('takes alpha from %s', async (_, settings, alpha) => {
    const { lora } = await readKeys(folder, 'settings', pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`),
      { format: 'pt', lora_adapter_metadata: JSON.stringify(settings) });
    expect(lora.layers.get(Q)!.alpha).toBe(alpha);
  });

  it.each([
    ['{', /settings.safetensors \(lora_adapter_metadata\): is not valid JSON/], ['[]', /does not hold a JSON object/],
    ['{"unet.lora_alpha":"8"}', /alpha that is no number/],
    ['{"unet.alpha_pattern":{"(a+)+$":1}}', /pattern "\(a\+\)\+\$" in alpha_pattern/],
  ])('refuses the settings %s', async (text, reason) => {
    const layers = pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`);
    await expect(readKeys(folder, 'settings', layers, { lora_adapter_metadata: text })).rejects.toThrow(reason);
  });
});

describe('PEFT and ComfyUI', () => {
  it('writes adapter folders', async () => {
    const path = join(folder, 'peft');
    const lora = sample();
    const unet = { ...lora, layers: new Map([...lora.layers].filter(([module]) => module.startsWith('unet.'))) };
    await writeLora(path, unet, 'peft', { facts: { baseModelName: 'runwayml/stable-diffusion-v1-5' } });
    expect(readdirSync(path).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    const config = JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
    expect(config).toMatchObject({
      peft_type: 'LORA', r: 4, lora_alpha: 4, base_model_name_or_path: 'runwayml/stable-diffusion-v1-5',
      target_modules: expect.arrayContaining([`${ATTN}.attn1.to_q`]) as unknown,
    });
    expect(await keysOf(join(path, 'adapter_model.safetensors'))).toContain(
      `base_model.model.${ATTN}.attn1.to_q.lora_A.weight`);
    const back = await readLora(join(path, 'adapter_model.safetensors')); // by its file too
    expect(comparable(back.lora)).toEqual(comparable(unet));
    await writeLora(join(folder, 'peft-xl'), sample('sdxl'), 'peft');
    expect(readdirSync(join(folder, 'peft-xl')).sort()).toEqual(['text_encoder', 'text_encoder_2', 'unet']);
  });

  it('refuses other adapters and a missing config', async () => {
    const path = join(folder, 'ia3');
    mkdirSync(path);
    const weights = join(path, 'adapter_model.safetensors');
    await writeSafetensors(weights, Object.entries(pair(`base_model.model.${ATTN}.attn1.to_q.lora_A.weight`, 'x')));
    await expect(readLora(weights)).rejects.toThrow(/adapter_config.json: cannot be opened/);
    writeFileSync(join(path, 'adapter_config.json'), '{"peft_type":"IA3"}');
    await expect(readLora(path)).rejects.toThrow(/adapter of the kind "IA3"/);
    writeFileSync(join(path, 'adapter_config.json'), '{"peft_type":');
    await expect(readLora(path)).rejects.toThrow(/adapter_config.json: is not valid JSON/);
  });

  it('reads the original names with dots', async () => {
    const key = 'diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q';
    const reading = await readKeys(folder, 'comfy', {
      ...pair(`${key}.lora_A.weight`, `${key}.lora_B.weight`), [`${key}.alpha`]: host(Float32Array.of(2), []),
    });
    expect(reading.dialect).toBe('comfy');
    expect(reading.lora.layers.get(Q)!.alpha).toBe(2);
  });

  it('reads PyTorch files too', async () => {
    const store = (key: string) => (
      { persistent: { tuple: ['storage', { global: 'torch.FloatStorage' }, key, 'cpu', 32] } }
    );
    const matrix = (key: string, size: number[]) => ({
      call: { global: 'torch._utils._rebuild_tensor_v2' },
      args: [store(key), 0, { tuple: size }, { tuple: [size[1]!, 1] }, false, new Map()],
    });
    const path = join(folder, 'pytorch_lora_weights.bin');
    writeFileSync(path, zip({
      'archive/data.pkl': pickle(new Map([
        [`${ATTN}.attn1.processor.to_q_lora.down.weight`, matrix('0', [4, 8])],
        [`${ATTN}.attn1.processor.to_q_lora.up.weight`, matrix('1', [8, 4])],
      ])),
      'archive/data/0': new Uint8Array(tensor([4, 8], 1).data.buffer),
      'archive/data/1': new Uint8Array(tensor([8, 4], 2).data.buffer),
    }));
    const { lora, dialect } = await readLora(path);
    expect(dialect).toBe('diffusers-old');
    expect(plain(lora.layers.get(Q)!.down)).toEqual(plain(tensor([4, 8], 1)));
  });
});

describe('bad input', () => {
  const [A, B] = [`${Q}.lora_A.weight`, `${Q}.lora_B.weight`];
  it('names file, layer and remedy', async () => {
    await expect(readLora(join(folder, 'gone'))).rejects.toThrow(/gone: does not exist/);
    mkdirSync(join(folder, 'empty'));
    await expect(readLora(join(folder, 'empty'))).rejects.toThrow(/empty: holds no LoRA\. Name the file/);
    await expect(readKeys(folder, 'flux', { 'transformer.x.lora_A.weight': tensor([1, 1]) })).rejects.toThrow(
      /flux.safetensors: holds no LoRA layer .*"transformer.x.lora_A.weight".* SD 1.x/);
    await expect(readKeys(folder, 'shapes', { [A]: tensor([4, 8]), [B]: tensor([8, 5]) }))
      .rejects.toThrow(/shapes.safetensors: layer "unet.*to_q": .*: down float32 \[4, 8\], up float32 \[8, 5\]/);
    const integers = host(new Int8Array(32), [4, 8], 'int8');
    const bytes = { ...pair('x', B), [A]: integers };
    await expect(readKeys(folder, 'bytes', bytes)).rejects.toThrow(/down int8 \[4, 8\]/);
    await expect(readKeys(folder, 'vector', { [A]: tensor([4]), [B]: tensor([4]) }))
      .rejects.toThrow(/cannot be applied/);
    await expect(readKeys(folder, 'alpha', { ...pair(A, B), [`${Q}.alpha`]: tensor([2]) }))
      .rejects.toThrow(/alpha NaN/);
  });

  it('survives every truncation and random corruption', async () => {
    const path = join(folder, 'small.safetensors');
    const small: LoraFile = { baseModel: 'sd1', metadata: {}, layers: new Map([[Q, layer(3, 3, 1, 1, 1)]]) };
    await writeLora(path, small, 'diffusers');
    const target = join(folder, 'fuzzed');
    await expectSturdy(readFileSync(path), target, async (bytes) => {
      writeFileSync(target, bytes);
      return readLora(target);
    }, 200);
  });

  it('is not slow on long names', () => {
    const next = random(3);
    for (const unit of ['_', 'to_', 'blocks_', '.', '.lora_A', '.processor', '.to_q_lora.down', 'conv_in', '\0']) {
      const name = `${unit.repeat(50_000)}${next()}`;
      for (const key of [`lora_unet_${name}`, `lora_unet_${name}.alpha`]) expect(parseKohya(key)).toBeUndefined();
      for (const key of [name, `unet.${name}.weight`]) expect(parseDotted(key)).toBeUndefined();
    }
  });
});

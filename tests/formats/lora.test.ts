import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fromFloat32, host, toFloat32, type HostTensor } from '../../src/graph/dtype.js';
import { parseDotted } from '../../src/formats/lora-dialects/dotted.js';
import { parseKohya } from '../../src/formats/lora-dialects/kohya.js';
import { LORA_DIALECTS, readLora, writeLora } from '../../src/formats/lora-file.js';
import { scaleOf, type LoraFile, type LoraLayer } from '../../src/formats/lora.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { UNETS, clipText, diffusersUNet, ldmUNet } from './architectures.js';
import { expectSturdy, pickle, plain, random, scratch, tensor, zip } from './helpers.js';

const folder = scratch();
const ATTN = 'down_blocks.0.attentions.0.transformer_blocks.0';
const TEXT = 'text_model.encoder.layers.0';

function layer(inputs: number, outputs: number, rank: number, alpha: number, seed: number): LoraLayer {
  return { down: tensor([rank, inputs], seed), up: tensor([outputs, rank], seed + 100), alpha };
}

/** A LoRA with layers of all kinds. */
function sample(family: 'sd1' | 'sd2' | 'sdxl' = 'sd1', uniform = false): LoraFile {
  const width = { sd1: 768, sd2: 1024, sdxl: 2048 }[family];
  const rank = (r: number) => (uniform ? 4 : r);
  const alpha = (a: number) => (uniform ? 4 : a);
  const conv = { down: tensor([rank(2), 8, 3, 3], 5), up: tensor([8, rank(2), 1, 1], 6), alpha: alpha(1.5) };
  const layers = new Map<string, LoraLayer>([
    [`unet.${ATTN}.attn1.to_q`, layer(8, 8, 4, 4, 1)],
    [`unet.${ATTN}.attn1.to_out.0`, layer(8, 8, 4, alpha(2), 2)],
    [`unet.${ATTN}.attn2.to_k`, layer(width, 8, 4, 4, 3)],
    [`unet.${ATTN}.ff.net.0.proj`, layer(8, 64, rank(8), 4, 4)],
    ['unet.mid_block.resnets.1.conv2', conv],
    [`text_encoder.${TEXT}.self_attn.out_proj`, layer(8, 8, 4, 4, 7)],
    [`text_encoder.${TEXT}.mlp.fc1`, { ...layer(8, 32, 4, 4, 8), down: half(tensor([4, 8], 8)) }],
  ]);
  if (family === 'sdxl') layers.set(`text_encoder_2.${TEXT}.self_attn.q_proj`, layer(8, 8, 4, 4, 9));
  return { baseModel: family, layers, metadata: { 'attune.method': 'draft', ss_seed: '7' } };
}

function half(full: HostTensor): HostTensor {
  return fromFloat32(toFloat32(full), full.shape, 'float16');
}

const comparable = (lora: LoraFile) => Object.fromEntries([...lora.layers].sort().map(([module, l]) => (
  [module, { down: plain(l.down), up: plain(l.up), alpha: l.alpha }]
)));

async function keysOf(path: string): Promise<string[]> {
  const source = await openSafetensors(path);
  await source.close();
  return [...source.tensors.keys()].sort();
}

/** Writes tensors by key and reads them as a LoRA. */
async function read(name: string, tensors: Record<string, HostTensor>, metadata: Record<string, string> = {}) {
  const path = join(folder, `${name}.safetensors`);
  await writeSafetensors(path, Object.entries(tensors), metadata);
  return readLora(path);
}

const pair = (down: string, up: string) => ({ [down]: tensor([4, 8], 1), [up]: tensor([8, 4], 2) });
const Q = `unet.${ATTN}.attn1.to_q`;

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
      expect(comparable(back.lora)).toEqual(comparable(lora));
      expect(back.lora.baseModel).toBe(family);
      expect(back.lora.metadata).toMatchObject(lora.metadata);
      // a second pass changes nothing at all
      const again = join(folder, `again-${dialect}-${family}`);
      const rewritten = await writeLora(again, back.lora, dialect);
      for (const [i, file] of written.entries()) {
        expect(readFileSync(rewritten[i]!).equals(readFileSync(file))).toBe(true);
      }
    });

  it('without a place for alpha, the scale goes into the matrices', async () => {
    const lora = sample();
    const path = join(folder, 'folded.safetensors');
    await writeLora(path, lora, 'diffusers-old');
    const { lora: back } = await readLora(path);
    for (const [module, original] of lora.layers) {
      const found = back.layers.get(module)!;
      expect(scaleOf(found)).toBe(1);
      const expected = toFloat32(original.up).map((v) => v * scaleOf(original));
      expect(toFloat32(found.up)).toEqual(expected);
    }
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
    const without = await read('no-alpha', matrices);
    expect(scaleOf(without.lora.layers.get(Q)!)).toBe(1);
    const integer = host(BigInt64Array.of(2n), [], 'int64'); // so diffusers' converter writes it
    for (const two of [host(Uint16Array.of(0x4000), [], 'float16'), host(Float32Array.of(2), [1]), integer]) {
      const halved = await read('half-alpha', { ...matrices, [`${key}.alpha`]: two });
      expect(scaleOf(halved.lora.layers.get(Q)!)).toBe(0.5);
    }
  });

  it.each([['lora_te_', 'text_encoder'], ['lora_te1_', 'text_encoder'], ['lora_te2_', 'text_encoder_2']])(
    'reads %s as %s', async (prefix, component) => {
      const key = `${prefix}text_model_encoder_layers_11_self_attn_q_proj`;
      const { lora } = await read('te', pair(`${key}.lora_down.weight`, `${key}.lora_up.weight`));
      expect([...lora.layers.keys()]).toEqual([`${component}.text_model.encoder.layers.11.self_attn.q_proj`]);
    });

  it('reports what it does not understand and what is missing', async () => {
    const name = (module: string) => `lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_${module}`;
    const reading = await read('odd-keys', {
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
      'unet.r': 4, 'unet.lora_alpha': 4, 'unet.peft_type': 'LORA', 'unet.use_rslora': false, 'unet.bias': 'none',
      'unet.rank_pattern': { [`${ATTN}.ff.net.0.proj`]: 8, 'mid_block.resnets.1.conv2': 2 },
      'unet.alpha_pattern': { [`${ATTN}.attn1.to_out.0`]: 2, 'mid_block.resnets.1.conv2': 1.5 },
      'unet.target_modules': ['conv2', 'ff.net.0.proj', 'to_k', 'to_out.0', 'to_q'],
      'text_encoder.target_modules': [`${TEXT}.mlp.fc1`, `${TEXT}.self_attn.out_proj`],
    });
    expect(Object.keys(JSON.parse(text) as object).filter((key) => key.startsWith('text_encoder_2.'))).toEqual([]);
  });

  it('reads the names of every age', async () => {
    const t = `text_encoder.${TEXT}`;
    const reading = await read('ages', {
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
    const { lora } = await read('settings', pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`),
      { format: 'pt', lora_adapter_metadata: JSON.stringify(settings) });
    expect(lora.layers.get(Q)!.alpha).toBe(alpha);
  });

  it.each([
    ['{', /settings.safetensors \(lora_adapter_metadata\): is not valid JSON/], ['[]', /does not hold a JSON object/],
    ['{"unet.lora_alpha":"8"}', /alpha that is no number/],
    ['{"unet.alpha_pattern":{"(a+)+$":1}}', /pattern "\(a\+\)\+\$" in alpha_pattern/],
  ])('refuses the settings %s', async (text, reason) => {
    await expect(read('settings', pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`), { lora_adapter_metadata: text }))
      .rejects.toThrow(reason);
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
    const reading = await read('comfy', {
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

describe('metadata', () => {
  it('has what other tools look for, and hashes that are right', async () => {
    const path = join(folder, 'meta.safetensors');
    const lora = sample('sd2', true);
    const layers = new Map([...lora.layers, ['unet.mid_block.resnets.0.conv1', layer(1 << 17, 8, 4, 4, 11)]]);
    const facts = {
      outputName: 'reds', learningRate: 0.001, seed: 3, steps: 100, finishedAt: 1.7e9, predictionType: 'v' as const,
    };
    await writeLora(path, { ...lora, layers }, 'kohya', { facts });
    const source = await openSafetensors(path);
    await source.close();
    expect(source.metadata).toMatchObject({
      ss_v2: 'True', ss_base_model_version: 'sd_v2_v', ss_network_module: 'networks.lora', ss_network_dim: '4',
      ss_network_alpha: '4', ss_network_args: '{}', ss_output_name: 'reds', ss_sd_model_name: 'None', ss_seed: '3',
      ss_learning_rate: '0.001', ss_steps: '100', ss_epoch: 'None', ss_training_finished_at: '1700000000',
      ss_session_id: 'None', 'attune.method': 'draft', 'modelspec.sai_model_spec': '1.0.1',
      'modelspec.architecture': 'stable-diffusion-v2-768-v/lora', 'modelspec.implementation': 'diffusers',
      'modelspec.title': 'reds', 'modelspec.resolution': '768x768', 'modelspec.date': '2023-11-14T22:13:20',
      'modelspec.prediction_type': 'v',
    });
    const bytes = readFileSync(path);
    const body = bytes.subarray(8 + Number(bytes.readBigUInt64LE()));
    const hash = createHash('sha256').update(body).digest('hex');
    expect(source.metadata.sshs_model_hash).toBe(hash);
    expect(source.metadata['modelspec.hash_sha256']).toBe(`0x${hash}`);
    // The older hash is that of a part of the file as it would be with the training entries alone.
    const training = Object.fromEntries(Object.entries(source.metadata).filter(([key]) => key.startsWith('ss_')));
    const bare = join(folder, 'bare.safetensors');
    const again = await openSafetensors(path);
    const tensors: [string, HostTensor][] = [];
    for (const name of again.tensors.keys()) tensors.push([name, await again.read(name)]);
    await again.close();
    await writeSafetensors(bare, tensors, training);
    const part = readFileSync(bare).subarray(0x100000, 0x110000);
    expect(part.length).toBe(0x10000);
    expect(source.metadata.sshs_legacy_hash).toBe(createHash('sha256').update(part).digest('hex').slice(0, 8));
  });

  it('says so where ranks differ, and forgets what no longer holds', async () => {
    const path = join(folder, 'mixed.safetensors');
    const metadata = { lora_adapter_metadata: '{', sshs_model_hash: 'old', ss_network_dim: '99' };
    await writeLora(path, { ...sample(), metadata }, 'kohya');
    const source = await openSafetensors(path);
    await source.close();
    expect(source.metadata).toMatchObject({ ss_network_dim: 'Dynamic', ss_network_alpha: 'Dynamic', ss_v2: 'False' });
    expect(source.metadata.lora_adapter_metadata).toBeUndefined();
    expect(source.metadata.sshs_model_hash).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('the base model', () => {
  const key = `unet.${ATTN}.attn2.to_v`;
  const attn2 = (width: number) => (
    { [`${key}.lora_A.weight`]: tensor([1, width]), [`${key}.lora_B.weight`]: tensor([8, 1]) }
  );
  it.each<[string, Record<string, HostTensor>, Record<string, string>, string | undefined]>([
    ['768', attn2(768), {}, 'sd1'], ['1024', attn2(1024), {}, 'sd2'], ['2048', attn2(2048), {}, 'sdxl'],
    ['shape before text', attn2(768), { ss_base_model_version: 'sdxl_base_v1-0' }, 'sd1'],
    ['another width', attn2(64), {}, undefined],
    ['another width with a name', attn2(64), { ss_base_model_version: 'emoji' }, 'emoji'],
    ['no cross-attention', pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`), {}, undefined],
    ['no cross-attention, sdxl in text', pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`),
      { ss_base_model_version: 'sdxl_base_v1-0' }, 'sdxl'],
    ['ModelSpec', pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`),
      { 'modelspec.architecture': 'stable-diffusion-v2-512/lora' }, 'sd2'],
  ])('by %s', async (_, tensors, metadata, expected) => {
    expect((await read('base', tensors, metadata)).lora.baseModel).toBe(expected);
  });

  it.each(['emoji', 'constructor', undefined])('of another model (%s) keeps its name', async (name) => {
    const layers = new Map([[Q, layer(8, 8, 4, 4, 1)]]);
    for (const dialect of LORA_DIALECTS) {
      const path = join(folder, `${name}-${dialect}`);
      await writeLora(path, { ...(name && { baseModel: name }), metadata: {}, layers }, dialect);
      expect((await readLora(path)).lora.baseModel).toBe(name);
    }
  });
});

describe('bad input', () => {
  it('names file, layer and remedy', async () => {
    await expect(readLora(join(folder, 'gone'))).rejects.toThrow(/gone: does not exist/);
    await expect(readLora(folder)).rejects.toThrow(/pytorch_lora_weights.safetensors: cannot be opened/);
    await expect(read('flux', { 'transformer.x.lora_A.weight': tensor([1, 1]) })).rejects.toThrow(
      /flux.safetensors: holds no LoRA layer .*"transformer.x.lora_A.weight".* SD 1.x/);
    await expect(read('shapes', { [`${Q}.lora_A.weight`]: tensor([4, 8]), [`${Q}.lora_B.weight`]: tensor([8, 5]) }))
      .rejects.toThrow(/shapes.safetensors: layer "unet.*to_q": .*: down float32 \[4, 8\], up float32 \[8, 5\]/);
    const integers = host(new Int8Array(32), [4, 8], 'int8');
    const bytes = { ...pair('x', `${Q}.lora_B.weight`), [`${Q}.lora_A.weight`]: integers };
    await expect(read('bytes', bytes)).rejects.toThrow(/down int8 \[4, 8\]/);
    await expect(read('vector', { [`${Q}.lora_A.weight`]: tensor([4]), [`${Q}.lora_B.weight`]: tensor([4]) }))
      .rejects.toThrow(/cannot be applied/);
    await expect(read('alpha', { ...pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`), [`${Q}.alpha`]: tensor([2]) }))
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

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { LORA_DIALECTS, readLora, writeLora } from '../../src/formats/lora-file.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { scratch, tensor } from './helpers.js';
import { ATTN, Q, layer, pair, readKeys, sample } from './lora-samples.js';

const folder = scratch();

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

  it('keeps what a converted file says of its prediction and resolution', async () => {
    const said = { ss_base_model_version: 'sd_v2_v', 'modelspec.resolution': '640x640', 'modelspec.title': 'mine' };
    const path = join(folder, 'converted.safetensors');
    await writeLora(path, { ...sample('sd2'), metadata: said }, 'diffusers');
    const { lora } = await readLora(path);
    expect(lora.metadata).toMatchObject({ ...said, 'modelspec.architecture': 'stable-diffusion-v2-768-v/lora' });
  });

  it('says so where ranks differ, and forgets what no longer holds', async () => {
    const path = join(folder, 'mixed.safetensors');
    const metadata = { lora_adapter_metadata: '{', sshs_model_hash: 'old', ss_network_dim: '99' };
    await writeLora(path, { ...sample(), metadata }, 'kohya');
    const source = await openSafetensors(path);
    await source.close();
    expect(source.metadata).toMatchObject({ ss_network_dim: 'Dynamic', ss_network_alpha: '4', ss_v2: 'False' });
    expect(source.metadata.lora_adapter_metadata).toBeUndefined();
    expect(source.metadata.sshs_model_hash).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('the base model', () => {
  const key = `unet.${ATTN}.attn2.to_v`;
  const attn2 = (width: number) => (
    { [`${key}.lora_A.weight`]: tensor([1, width]), [`${key}.lora_B.weight`]: tensor([8, 1]) }
  );
  const named = (path: string, module = `unet.${path}`) => pair(`${module}.lora_A.weight`, `${module}.lora_B.weight`);
  const q = 'text_encoder.text_model.encoder.layers.0.self_attn.q_proj';
  const narrow = { [`${q}.lora_A.weight`]: tensor([1, 768]), [`${q}.lora_B.weight`]: tensor([768, 1]) };
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
    ['deep transformers, without metadata', named('down_blocks.2.attentions.0.transformer_blocks.9.ff.net.2'), {}, 'sdxl'],
    ['attention in the first block up', named('up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q'), {}, 'sdxl'],
    ['the embedding of sizes', named('add_embedding.linear_1'), {}, 'sdxl'],
    ['the second text encoder', named('x', 'text_encoder_2.text_model.encoder.layers.0.mlp.fc1'), {}, 'sdxl'],
    ['modules that all have', named('down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q'), {}, undefined],
    ['kohya with the original names', pair('lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight',
      'lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_up.weight'), {}, 'sdxl'],
    ['four levels with the original names', pair('lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight',
      'lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_up.weight'), {}, undefined],
    ['four levels and a narrow text encoder', { ...pair(`${Q}.lora_A.weight`, `${Q}.lora_B.weight`), ...narrow }, {}, 'sd1'],
    ['a narrow text encoder alone', narrow, {}, undefined],
    ['a name before modules', named('add_embedding.linear_1'), { ss_base_model_version: 'emoji' }, 'emoji'],
    ['another width before modules', { ...attn2(64), ...named('add_embedding.linear_1') }, {}, undefined],
  ])('by %s', async (_, tensors, metadata, expected) => {
    expect((await readKeys(folder, 'base', tensors, metadata)).lora.baseModel).toBe(expected);
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

import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { host, type HostTensor } from '../../src/graph/dtype.js';
import { unetFromLdm, unetToLdm, type Family } from '../../src/formats/names/ldm-unet.js';
import { presentVae } from '../../src/formats/names/ldm-vae.js';
import { textFromClip, textFromOpenClip } from '../../src/formats/names/ldm-text.js';
import { detectSingleFile, fromLdm, guessPrediction, singleFileComponent } from '../../src/formats/names/single-file.js';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import { UNETS, clipText, diffusersUNet, diffusersVae, ldmUNet, singleFile } from './architectures.js';
import { plain, scratch, tensor } from './helpers.js';

const folder = scratch();

/** Everything the reference libraries' models hold. The counts are those of the published files. */
const EXPECTED: Record<Family, { names: Record<string, string[]>; counts: Record<string, number> }> = {
  sd1: {
    names: { unet: diffusersUNet(UNETS.sd1), vae: diffusersVae(), text_encoder: clipText(12) },
    counts: { unet: 686, vae: 248, text_encoder: 196 },
  },
  sd2: {
    names: { unet: diffusersUNet(UNETS.sd2), vae: diffusersVae(), text_encoder: clipText(23) },
    counts: { unet: 686, vae: 248, text_encoder: 372 },
  },
  sdxl: {
    names: {
      unet: diffusersUNet(UNETS.sdxl), vae: diffusersVae(), text_encoder: clipText(12),
      text_encoder_2: clipText(32, true),
    },
    counts: { unet: 1680, vae: 248, text_encoder: 196, text_encoder_2: 517 },
  },
};

describe.each(['sd1', 'sd2', 'sdxl'] as const)('%s', (family) => {
  it('maps a single file onto all tensors of all components, each once', () => {
    const { names, counts } = EXPECTED[family];
    const found: Record<string, string[]> = {};
    for (const key of singleFile(family)) {
      for (const { component, name } of fromLdm(family, key)) (found[component] ??= []).push(name);
    }
    expect(Object.keys(found).sort()).toEqual(Object.keys(names).sort());
    for (const [component, list] of Object.entries(found)) {
      expect(list).toHaveLength(counts[component]!);
      expect(list.sort()).toEqual(names[component]!.sort());
    }
  });

  it('maps U-Net names back', () => {
    for (const name of ldmUNet(UNETS[family])) expect(unetToLdm(unetFromLdm(name)!, family)).toBe(name);
    for (const name of diffusersUNet(UNETS[family])) expect(unetFromLdm(unetToLdm(name, family)!)).toBe(name);
  });
});

describe('single names', () => {
  it('modules and the exceptions', () => {
    expect(unetFromLdm('input_blocks.4.1.proj_in')).toBe('down_blocks.1.attentions.0.proj_in');
    expect(unetFromLdm('time_embed.cond_proj.weight')).toBe('time_embedding.cond_proj.weight');
    expect(textFromClip('embeddings.token_embedding.weight')).toBe('text_model.embeddings.token_embedding.weight');
    expect(textFromClip('text_model.embeddings.position_ids')).toBeUndefined();
    expect(textFromOpenClip('constructor')).toEqual([]);
    expect(textFromOpenClip('transformer.resblocks.0.constructor.weight')).toEqual([]);
  });

  it.each(['input_blocks.3.1.op', 'input_blocks.3.0.optic', 'input_blocks.1.2.x', 'output_blocks.0.2.x', 'time_embed.1',
    'middle_block.0.unknown', 'middle_block.3.x', 'out.22', 'control_model.x', 'input_blocks.0.1.x', ''])(
    'does not take %j for a U-Net name', (name) => expect(unetFromLdm(name)).toBeUndefined());

  it('presents a VAE of old diffusers as one of today', async () => {
    const path = join(folder, 'old-vae.safetensors');
    const prefix = 'encoder.mid_block.attentions.0.';
    const names = ['query', 'key', 'value', 'proj_attn'].map((name) => `${prefix}${name}.weight`);
    await writeSafetensors(path, [...names, 'decoder.conv_in.weight'].map((n, i) => [n, tensor([2, 2, 1, 1], i)]));
    const vae = presentVae(await openSafetensors(path));
    const present = ['to_q', 'to_k', 'to_v', 'to_out.0'].map((name) => `${prefix}${name}.weight`);
    expect([...vae.tensors.keys()].sort()).toEqual(['decoder.conv_in.weight', ...present].sort());
    for (const [i, name] of present.entries()) {
      expect(plain(await vae.read(name))).toEqual({ ...plain(tensor([2, 2, 1, 1], i)), shape: [2, 2] });
    }
    expect((await vae.read('decoder.conv_in.weight')).shape).toEqual([2, 2, 1, 1]);
    await vae.close();
  });
});

describe('a single file', () => {
  const U = 'model.diffusion_model.';
  const CONV_IN = `${U}input_blocks.0.0.weight`;
  const TO_K = `${U}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight`;
  const write = async (name: string, tensors: [string, HostTensor][]) => {
    const path = join(folder, `${name}.safetensors`);
    await writeSafetensors(path, tensors);
    return openSafetensors(path);
  };

  it.each([[768, 'sd1'], [1024, 'sd2'], [2048, 'sdxl']] as const)('of text width %i is %s', async (width, family) => {
    const source = await write(family, [[CONV_IN, tensor([2, 4, 3, 3])], [TO_K, tensor([2, width])]]);
    expect(detectSingleFile(source)).toEqual({ family, inChannels: 4, zeroTerminalSnr: false });
    expect(() => singleFileComponent(source, family, 'vae')).toThrow(/holds no vae.*--vae/);
    await source.close();
  });

  it('tells what it predicts by metadata or marks, where it has any', async () => {
    const rest: [string, ReturnType<typeof tensor>][] = [[CONV_IN, tensor([2, 4, 3, 3])], [TO_K, tensor([2, 1024])]];
    const path = join(folder, 'metadata.safetensors');
    await writeSafetensors(path, rest, { 'modelspec.prediction_type': 'epsilon' });
    const told = await openSafetensors(path);
    expect(detectSingleFile(told)).toMatchObject({ prediction: 'epsilon' });
    await told.close();
    const marked = await write('marked', [...rest, ['v_pred', tensor([1])], ['ztsnr', tensor([1])]]);
    expect(detectSingleFile(marked)).toMatchObject({ prediction: 'v_prediction', zeroTerminalSnr: true });
    await marked.close();
  });

  it.each([
    ['edm_mean', /an EDM model as Playground v2.5 is, by its tensor "edm_mean".*SDXL base/],
    ['edm_vpred.sigma_max', /an EDM model as CosXL is, by its tensor "edm_vpred.sigma_max"/],
  ] as const)('with %s is no SDXL', async (key, reason) => {
    const source = await write(key, [[CONV_IN, tensor([2, 4, 3, 3])], [TO_K, tensor([2, 2048])], [key, tensor([1])]]);
    expect(() => detectSingleFile(source)).toThrow(reason);
    await source.close();
  });

  it.each([
    ['spread', 0.1, {}, 'v_prediction', /spread by 0.100/],
    ['narrow', 0.08, {}, 'epsilon', /spread by 0.080/],
    ['absent', 0, {}, 'v_prediction', /nothing in it tells/],
    ['base', 0.1, { global_step: '875000' }, 'epsilon', /875000 steps/],
  ] as const)('of SD 2.x that says nothing is told by its weights (%s)', async (name, spread, metadata, prediction, reason) => {
    const bias = host(Float32Array.of(spread, -spread, spread, -spread), [4]);
    const path = join(folder, `sd2-${name}.safetensors`);
    await writeSafetensors(path, [[CONV_IN, tensor([2, 4, 3, 3])], [TO_K, tensor([2, 1024])],
      ...(spread ? [[`${U}output_blocks.11.1.transformer_blocks.0.norm1.bias`, bias] as const] : [])], metadata);
    const source = await openSafetensors(path);
    const guess = await guessPrediction(source, 4);
    expect(guess.prediction).toBe(prediction);
    expect(guess.reason).toMatch(reason);
    expect((await guessPrediction(source, 9)).prediction).toBe('epsilon');
    await source.close();
  });

  it('of another kind is refused', async () => {
    const refiner = await write('refiner', [[CONV_IN, tensor([2, 4, 3, 3])], [TO_K, tensor([2, 1280])]]);
    expect(() => detectSingleFile(refiner)).toThrow(/refiner.safetensors: attends to text states of width 1280/);
    await refiner.close();
    const flux = await write('flux', [['double_blocks.0.img_attn.qkv.weight', tensor([3, 1])]]);
    expect(() => detectSingleFile(flux)).toThrow(/flux.safetensors: has no tensor "model.diffusion_model/);
    await flux.close();
  });

  it('has its matrices split, transposed and flattened as ours are', async () => {
    const inProj = host(Float32Array.from({ length: 12 }, (_, i) => i), [6, 2]);
    const te = 'conditioner.embedders.1.model.';
    const source = await write('transforms', [
      [`${te}transformer.resblocks.3.attn.in_proj_weight`, inProj],
      [`${te}transformer.resblocks.3.attn.in_proj_bias`, host(Uint16Array.of(1, 2, 3, 4, 5, 6), [6], 'float16')],
      [`${te}text_projection`, host(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3])],
      ['first_stage_model.encoder.mid.attn_1.q.weight', host(Float32Array.of(1, 2, 3, 4), [2, 2, 1, 1])],
      ['first_stage_model.encoder.mid.attn_1.proj_out.weight', host(Float32Array.of(1, 2, 3, 4), [2, 2])],
      ['first_stage_model.quant_conv.weight', host(Float32Array.of(1, 2), [2, 1, 1, 1])],
    ]);
    const text = singleFileComponent(source, 'sdxl', 'text_encoder_2');
    const values = Object.fromEntries([...await readAll(text)].map(([name, t]) => [name, plain(t)]));
    const at = (letter: string, end: string) => values[`text_model.encoder.layers.3.self_attn.${letter}_proj.${end}`];
    expect(at('q', 'weight')).toEqual({ dtype: 'float32', shape: [2, 2], data: [0, 1, 2, 3] });
    expect(at('k', 'weight')).toEqual({ dtype: 'float32', shape: [2, 2], data: [4, 5, 6, 7] });
    expect(at('v', 'weight')).toEqual({ dtype: 'float32', shape: [2, 2], data: [8, 9, 10, 11] });
    expect(at('v', 'bias')).toEqual({ dtype: 'float16', shape: [2], data: [5, 6] });
    expect(values['text_projection.weight']).toEqual({ dtype: 'float32', shape: [3, 2], data: [1, 4, 2, 5, 3, 6] });
    const vae = singleFileComponent(source, 'sdxl', 'vae');
    expect([...vae.tensors].map(([name, { shape }]) => [name, shape])).toEqual([
      ['encoder.mid_block.attentions.0.to_out.0.weight', [2, 2]],
      ['encoder.mid_block.attentions.0.to_q.weight', [2, 2]],
      ['quant_conv.weight', [2, 1, 1, 1]],
    ]);
    for (const [name, info] of vae.tensors) expect((await vae.read(name)).shape).toEqual(info.shape);
    await source.close();
  });

  it('with a stacked matrix that cannot be split is refused', async () => {
    const key = 'cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight';
    const source = await write('odd', [[key, tensor([4, 2])]]);
    expect(() => singleFileComponent(source, 'sd2', 'text_encoder')).toThrow(/in_proj_weight": has the shape \[4, 2\]/);
    await source.close();
  });
});

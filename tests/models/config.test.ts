import { describe, expect, test } from 'vitest';
import { componentSchema, componentShapes } from '../../src/models/components.js';
import type { ComponentClass } from '../../src/models/components.js';
import { clipConfigSchema, parseConfig } from '../../src/models/config.js';

/** Small networks that the changes below spoil. */
const SOUND = {
  UNet2DConditionModel: {
    block_out_channels: [8, 16], norm_num_groups: 4, attention_head_dim: 2, cross_attention_dim: 6,
    down_block_types: ['CrossAttnDownBlock2D', 'DownBlock2D'], up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D'],
  },
  AutoencoderKL: { block_out_channels: [8, 16], norm_num_groups: 4 },
  AutoencoderTiny: {},
  CLIPTextModel: { hidden_size: 8, num_attention_heads: 2 },
  CLIPVisionModelWithProjection: { hidden_size: 8, num_attention_heads: 2, image_size: 32, patch_size: 8 },
} satisfies Partial<Record<ComponentClass, object>>;
type Kind = keyof typeof SOUND;

const parse = (kind: Kind, change: object): never =>
  parseConfig(componentSchema(kind), { ...SOUND[kind], ...change }, 'some/config.json') as never;

describe('a configuration of bounded size', () => {
  test.each(Object.keys(SOUND) as Kind[])('%s describes a network', (kind) => {
    expect(componentShapes(kind, parse(kind, {})).size).toBeGreaterThan(10);
  });

  // Each of these is otherwise endless, fills the memory, or fails far from the file that is at fault.
  test.each<[Kind, object, RegExp]>([
    ['UNet2DConditionModel', { layers_per_block: 1e9 }, /"layers_per_block": 1000000000 is not supported/],
    ['UNet2DConditionModel', { layers_per_block: 100, transformer_layers_per_block: 100 }, /makes 20000 layers in all/],
    ['UNet2DConditionModel', { block_out_channels: [4e9, 16] }, /"block_out_channels\.0": 4000000000 .*at most 65536/],
    ['UNet2DConditionModel', { block_out_channels: new Array<number>(1e5).fill(4) }, /"block_out_channels": .*at most \d+/],
    ['UNet2DConditionModel', { block_out_channels: [9, 16], norm_num_groups: 1, attention_head_dim: 1 }, /be even/],
    ['UNet2DConditionModel', { sample_size: 1e7 }, /"sample_size": 10000000/],
    ['UNet2DConditionModel', { conv_in_kernel: 4 }, /"conv_in_kernel": 4/],
    ['UNet2DConditionModel', { time_cond_proj_dim: 1e12 }, /"time_cond_proj_dim": 1000000000000 .*at most 65536/],
    ['UNet2DConditionModel', { attention_head_dim: 3 }, /"attention_head_dim": .*16 channels do not .* 3 heads/],
    ['UNet2DConditionModel', { norm_num_groups: 3 }, /"norm_num_groups": .*8 channels do not divide into 3 groups/],
    ['UNet2DConditionModel', {
      addition_embed_type: 'text_time', addition_time_embed_dim: 8, projection_class_embeddings_input_dim: 48,
    }, /"addition_embed_type": .*projection_class_embeddings_input_dim above 6/],
    ['AutoencoderKL', { norm_num_groups: 3 }, /"norm_num_groups": .*8 channels do not divide into 3 groups/],
    ['AutoencoderKL', { layers_per_block: 1e9 }, /"layers_per_block": 1000000000/],
    ['AutoencoderTiny', { num_decoder_blocks: [1e9, 1, 1, 1] }, /"num_decoder_blocks\.0": 1000000000/],
    ['AutoencoderTiny', { num_encoder_blocks: [1] }, /"num_encoder_blocks": .*encoder_block_out_channels/],
    ['CLIPTextModel', { num_hidden_layers: 1e9 }, /"num_hidden_layers": 1000000000/],
    ['CLIPTextModel', { num_attention_heads: 3 }, /"num_attention_heads": 3 .*does not divide/],
    ['CLIPTextModel', { max_position_embeddings: 1e6 }, /"max_position_embeddings": 1000000/],
    ['CLIPVisionModelWithProjection', { patch_size: 64 }, /"patch_size": 64 .*larger than image_size/],
  ])('%s: %#, is refused by key', (kind, change, message) => {
    expect(() => parse(kind, change)).toThrow(message);
    expect(() => parse(kind, change)).toThrow(/^some\/config\.json: /);
  });
});

test.each([
  ['0.8.1', 32, 64], ['0.2.4', 16, 64], ['0.9.0', 32, 32], ['0.10.2', 32, 32], ['0.8.1', 96, 96], [undefined, 32, 32],
  ['0.30.0', [64, 64], 64], ['0.30.0', [64, 96], [64, 96]], ['0.8.1', [32, 32], 32], ['0.30.0', null, null],
])('diffusers %s with the size %j means %j', (version, size, expected) => {
  const config = { sample_size: size, ...(version && { _diffusers_version: version }) };
  const { sample_size: read } = parseConfig(componentSchema('UNet2DConditionModel'), config, 'x');
  expect(read).toEqual(expected);
});

describe('keys that a class does not have', () => {
  const kinds = Object.keys(SOUND) as Kind[];
  test.each(kinds)('%s: those of training and storage, and what is off, change nothing', (kind) => {
    const inert = {
      torch_dtype: 'float16', dtype: 'float16', use_cache: true, gradient_checkpointing: false, _commit_hash: 'x', _new: 1,
      decay: 0.9999, min_decay: 0, optimization_step: 1234, update_after_step: 0, use_ema_warmup: false, inv_gamma: 1,
      power: 0.67, a_new_feature: null, another: false, a_list: [],
    };
    const { _class_name, ...parsed } = parse(kind, { ...inert, _class_name: kind }) as Record<string, unknown>;
    expect(_class_name).toBeUndefined();
    expect(parsed).toEqual(parse(kind, {}));
  });

  test.each(kinds)('%s: others are refused by name', (kind) => {
    expect(() => parse(kind, { torch_dtype: 'float16', a_new_feature: 2 })).toThrow(/config\.json: unknown key "a_new_feature"/);
  });

  test('within another configuration, and any number of them', () => {
    const text = { ...SOUND.CLIPTextModel, use_cache: true };
    const vision = { ...SOUND.CLIPVisionModelWithProjection, torch_dtype: 'float32' };
    const keys = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`off${i}`, null]));
    expect(() => parseConfig(clipConfigSchema, { text_config: text, vision_config: vision, ...keys }, 'x')).not.toThrow();
    expect(() => parseConfig(clipConfigSchema, { text_config: { ...text, shiny: 1 }, vision_config: vision }, 'x')).toThrow(/"shiny"/);
  });
});

/**
 * @file The `config.json` of each model component. Every key must be understood: one that would change the result and
 * is not supported is an error, one that cannot change it is passed over.
 */
import { z } from 'zod';
import { FormatError, shown } from '../formats/errors.js';
import { wanted } from '../formats/plain-issues.js';
import {
  dropped, eachBlock, evenWidth, inert, none, oddKernel, off, only, perBlock, repeats, side, TRAINING_KEYS, width, words,
} from './config-values.js';

/** What diffusers writes into every file. */
const DIFFUSERS = dropped('_class_name', '_diffusers_version', '_name_or_path', '_use_default_values');

const [CROSS_DOWN, DOWN] = ['CrossAttnDownBlock2D', 'DownBlock2D'] as const;
const [CROSS_UP, UP] = ['CrossAttnUpBlock2D', 'UpBlock2D'] as const;

/** Side of latents: 4096 pixels. */
const latents = side.max(512);
/** Transformer layers on the way down; SDXL has 24. */
const DEEPEST = 256;

/** Where there is a list in these, it has an entry for each block. */
const BY_BLOCK = [
  'down_block_types', 'up_block_types', 'layers_per_block', 'transformer_layers_per_block', 'attention_head_dim',
] as const;

/** `UNet2DConditionModel` of diffusers, as SD 1.x, 2.x, SDXL and their distillations use it. */
export const unetConfigSchema = z.strictObject({
  ...DIFFUSERS,
  /** Kept until the end: what `sample_size` means depends on it. */
  _diffusers_version: z.unknown().optional(),
  /** Sides of the latents that it was trained on: one for a square, or height and width. */
  sample_size: z.union([latents, z.array(latents).length(2)]).nullish(),
  in_channels: width.default(4),
  out_channels: width.default(4),
  down_block_types: eachBlock(z.enum([CROSS_DOWN, DOWN])).default([CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, DOWN]),
  mid_block_type: z.literal('UNetMidBlock2DCrossAttn').nullable().default('UNetMidBlock2DCrossAttn'),
  up_block_types: eachBlock(z.enum([CROSS_UP, UP])).default([UP, CROSS_UP, CROSS_UP, CROSS_UP]),
  block_out_channels: eachBlock(width).default([320, 640, 1280, 1280]),
  layers_per_block: perBlock(repeats).default(2),
  transformer_layers_per_block: perBlock(repeats).default(1),
  /** The number of heads, in spite of its name (diffusers issue 2011). */
  attention_head_dim: perBlock(width).default(8),
  cross_attention_dim: width.default(1280),
  norm_num_groups: width.default(32),
  norm_eps: z.number().positive().default(1e-5),
  use_linear_projection: z.boolean().default(false),
  flip_sin_to_cos: z.boolean().default(true),
  freq_shift: z.number().default(0),
  conv_in_kernel: oddKernel.default(3),
  conv_out_kernel: oddKernel.default(3),
  /** SDXL: pooled text and picture sizes are added to the time embedding. */
  addition_embed_type: z.literal('text_time').nullable().default(null),
  addition_time_embed_dim: evenWidth.nullable().default(null),
  projection_class_embeddings_input_dim: width.nullable().default(null),
  /** LCM: width of the embedding of the guidance scale. */
  time_cond_proj_dim: evenWidth.nullable().default(null),
  // float32 is what we compute in, so upcasting changes nothing.
  ...inert('upcast_attention', 'dropout', 'addition_embed_type_num_heads'),
  act_fn: z.enum(['silu', 'swish']).default('silu'),
  attention_type: only('default'),
  center_input_sample: off,
  class_embed_type: none,
  class_embeddings_concat: off,
  cross_attention_norm: none,
  downsample_padding: only(1),
  dual_cross_attention: off,
  encoder_hid_dim: none,
  encoder_hid_dim_type: none,
  mid_block_only_cross_attention: none,
  mid_block_scale_factor: only(1),
  num_attention_heads: none,
  num_class_embeds: none,
  only_cross_attention: z.union([off, z.array(z.literal(false))]),
  resnet_out_scale_factor: only(1),
  resnet_skip_time_act: off,
  resnet_time_scale_shift: only('default'),
  reverse_transformer_layers_per_block: none,
  time_embedding_act_fn: none,
  time_embedding_dim: none,
  time_embedding_type: only('positional'),
  timestep_post_act: none,
}).superRefine((config, context) => {
  const issue = (key: keyof typeof config, message: string): void =>
    context.addIssue({ code: 'custom', path: [key], message });
  const widths = config.block_out_channels;
  for (const key of BY_BLOCK) {
    const value = config[key];
    if (!Array.isArray(value) || value.length === widths.length) continue;
    issue(key, `has ${value.length} entries for ${widths.length} blocks`);
  }
  const each = (value: number | number[], i: number): number => (Array.isArray(value) ? value[i] ?? 1 : value);
  const { attention_head_dim: heads, norm_num_groups: groups } = config;
  widths.forEach((channels, i) => {
    const attends = config.down_block_types[i] === CROSS_DOWN || config.up_block_types.at(-1 - i) === CROSS_UP
      || (config.mid_block_type !== null && i === widths.length - 1);
    if (attends && channels % each(heads, i) !== 0) {
      issue('attention_head_dim', `${channels} channels do not divide into ${each(heads, i)} heads`);
    }
  });
  for (const channels of new Set(widths)) {
    if (channels % groups !== 0) issue('norm_num_groups', `${channels} channels do not divide into ${groups} groups`);
  }
  if (widths[0]! % 2 !== 0) issue('block_out_channels', 'the first must be even: sines and cosines of the time');
  const { layers_per_block: layers, transformer_layers_per_block: depths } = config;
  const depth = widths.reduce((sum, _, i) => sum + each(layers, i) * each(depths, i), 0);
  if (depth > DEEPEST) issue('transformer_layers_per_block', `makes ${depth} layers in all, more than ${DEEPEST}`);
  const { addition_time_embed_dim: size, projection_class_embeddings_input_dim: all } = config;
  if (config.addition_embed_type && !(size && all && all > 6 * size)) {
    const message = 'needs addition_time_embed_dim, and projection_class_embeddings_input_dim above 6 times that';
    issue('addition_embed_type', message);
  }
}).transform(({ _diffusers_version: version, sample_size: size, ...config }) => {
  const square = Array.isArray(size) && size[0] === size[1] ? size[0] : size;
  // Before 0.9 the scripts wrote 32 for models of 64: StableDiffusionPipeline takes 64 for all that is less.
  const wrong = typeof size === 'number' && size < 64 && config.addition_embed_type === null && beforeNine(version);
  return { ...config, sample_size: wrong ? 64 : square };
});

/** Whether a version of diffusers is before 0.9.0. */
function beforeNine(version: unknown): boolean {
  return typeof version === 'string' && /^0\.[0-8](\D|$)/.test(version);
}

export type UNetConfig = z.infer<typeof unetConfigSchema>;

/** `AutoencoderKL` of diffusers. */
export const vaeConfigSchema = z.strictObject({
  ...DIFFUSERS,
  in_channels: width.default(3),
  out_channels: width.default(3),
  latent_channels: width.default(4),
  block_out_channels: eachBlock(width).default([64]),
  layers_per_block: repeats.default(1),
  down_block_types: eachBlock(z.literal('DownEncoderBlock2D')).optional(),
  up_block_types: eachBlock(z.literal('UpDecoderBlock2D')).optional(),
  norm_num_groups: width.default(32),
  /** Latents times this have about unit variance. */
  scaling_factor: z.number().positive().default(0.18215),
  shift_factor: z.number().nullable().default(null),
  mid_block_add_attention: z.boolean().default(true),
  use_quant_conv: z.boolean().default(true),
  use_post_quant_conv: z.boolean().default(true),
  act_fn: z.enum(['silu', 'swish']).default('silu'),
  latents_mean: none,
  latents_std: none,
  ...inert('force_upcast', 'sample_size'),
}).transform(({ down_block_types, up_block_types, ...config }, context) => {
  const blocks = config.block_out_channels.length;
  for (const [key, types] of Object.entries({ down_block_types, up_block_types })) {
    if (!types || types.length === blocks) continue;
    context.addIssue({ code: 'custom', path: [key], message: `has ${types.length} entries for ${blocks} blocks` });
  }
  const { norm_num_groups: groups } = config;
  for (const channels of new Set(config.block_out_channels.filter((c) => c % groups !== 0))) {
    const message = `${channels} channels do not divide into ${groups} groups`;
    context.addIssue({ code: 'custom', path: ['norm_num_groups'], message });
  }
  const all = <T extends string>(type: T): T[] => new Array<T>(blocks).fill(type);
  return { ...config, down_block_types: all('DownEncoderBlock2D'), up_block_types: all('UpDecoderBlock2D') };
});
export type VaeConfig = z.infer<typeof vaeConfigSchema>;

/** `AutoencoderTiny` of diffusers (TAESD). */
export const tinyVaeConfigSchema = z.strictObject({
  ...DIFFUSERS,
  in_channels: width.default(3),
  out_channels: width.default(3),
  latent_channels: width.default(4),
  encoder_block_out_channels: eachBlock(width).default([64, 64, 64, 64]),
  decoder_block_out_channels: eachBlock(width).default([64, 64, 64, 64]),
  num_encoder_blocks: eachBlock(repeats).default([1, 3, 3, 3]),
  num_decoder_blocks: eachBlock(repeats).default([3, 3, 3, 1]),
  scaling_factor: z.number().positive().default(1),
  shift_factor: z.number().default(0),
  act_fn: only('relu'),
  upsampling_scaling_factor: only(2),
  upsample_fn: only('nearest'),
  // latent_magnitude and latent_shift only serve to store latents as pictures.
  ...inert('latent_magnitude', 'latent_shift', 'force_upcast', 'block_out_channels'),
}).refine((c) => c.num_encoder_blocks.length === c.encoder_block_out_channels.length, {
  path: ['num_encoder_blocks'], message: 'has another length than encoder_block_out_channels',
}).refine((c) => c.num_decoder_blocks.length === c.decoder_block_out_channels.length, {
  path: ['num_decoder_blocks'], message: 'has another length than decoder_block_out_channels',
});
export type TinyVaeConfig = z.infer<typeof tinyVaeConfigSchema>;

/** What transformers writes into every file; generation settings of language models among it. */
const TRANSFORMERS = dropped(
  '_name_or_path', '_commit_hash', 'architectures', 'attention_dropout', 'dropout', 'dtype', 'initializer_factor',
  'initializer_range', 'model_type', 'torch_dtype', 'transformers_version', 'add_cross_attention', 'bad_words_ids',
  'begin_suppress_tokens', 'chunk_size_feed_forward', 'cross_attention_hidden_size', 'decoder_start_token_id',
  'diversity_penalty', 'do_sample', 'early_stopping', 'encoder_no_repeat_ngram_size',
  'exponential_decay_length_penalty', 'finetuning_task', 'forced_bos_token_id', 'forced_eos_token_id', 'id2label',
  'is_decoder', 'is_encoder_decoder', 'label2id', 'length_penalty', 'max_length', 'min_length',
  'no_repeat_ngram_size', 'num_beam_groups', 'num_beams', 'num_return_sequences', 'output_attentions',
  'output_hidden_states', 'output_scores', 'prefix', 'problem_type', 'pruned_heads', 'remove_invalid_values',
  'repetition_penalty', 'return_dict', 'return_dict_in_generate', 'sep_token_id', 'suppress_tokens',
  'task_specific_params', 'temperature', 'tf_legacy_loss', 'tie_encoder_decoder', 'tie_word_embeddings',
  'tokenizer_class', 'top_k', 'top_p', 'torchscript', 'typical_p', 'use_bfloat16',
);

const CLIP_ENCODER = {
  ...TRANSFORMERS,
  hidden_act: z.enum(['quick_gelu', 'gelu']).default('quick_gelu'),
  layer_norm_eps: z.number().positive().default(1e-5),
  projection_dim: width.default(512),
};

const headsFit = (c: { hidden_size: number; num_attention_heads: number }): boolean =>
  c.hidden_size % c.num_attention_heads === 0;
const HEADS = { path: ['num_attention_heads'], message: 'hidden_size does not divide by it' };

/** `CLIPTextModel` and `CLIPTextModelWithProjection` of transformers. */
export const clipTextConfigSchema = z.strictObject({
  ...CLIP_ENCODER,
  vocab_size: words.default(49408),
  max_position_embeddings: side.min(2).default(77),
  hidden_size: width.default(512),
  intermediate_size: width.default(2048),
  num_hidden_layers: repeats.default(12),
  num_attention_heads: width.default(8),
  eos_token_id: z.int().default(49407),
  ...inert('bos_token_id', 'pad_token_id'),
}).refine(headsFit, HEADS);
export type ClipTextConfig = z.infer<typeof clipTextConfigSchema>;

/** `CLIPVisionModel` and `CLIPVisionModelWithProjection` of transformers. */
export const clipVisionConfigSchema = z.strictObject({
  ...CLIP_ENCODER,
  image_size: side.default(224),
  patch_size: side.default(32),
  num_channels: width.default(3),
  hidden_size: width.default(768),
  intermediate_size: width.default(3072),
  num_hidden_layers: repeats.default(12),
  num_attention_heads: width.default(12),
  ...inert('bos_token_id', 'eos_token_id', 'pad_token_id'),
}).refine(headsFit, HEADS).refine((c) => c.patch_size <= c.image_size, {
  path: ['patch_size'], message: 'is larger than image_size',
});
export type ClipVisionConfig = z.infer<typeof clipVisionConfigSchema>;

/** `CLIPModel` of transformers. */
export const clipConfigSchema = z.strictObject({
  ...TRANSFORMERS,
  text_config: clipTextConfigSchema,
  vision_config: clipVisionConfigSchema,
  projection_dim: width.default(512),
  // Old files hold the two configurations a second time; the temperature is among the weights.
  ...inert('text_config_dict', 'vision_config_dict', 'logit_scale_init_value'),
});
export type ClipConfig = z.infer<typeof clipConfigSchema>;

/** The value at a path of keys. */
const at = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((v, key) => (v as Record<PropertyKey, unknown> | undefined)?.[key], value);

/** A copy without the keys at the paths' ends. */
function without(value: unknown, paths: readonly (readonly PropertyKey[])[]): unknown {
  const copy = structuredClone(value);
  for (const path of paths) Reflect.deleteProperty(at(copy, path.slice(0, -1)) as object, path.at(-1)!);
  return copy;
}

/** Whether a key of a network's configuration that its class does not have tells of training or storage, or is off. */
const isInert = (key: PropertyKey, value: unknown): boolean => typeof key === 'string'
  && (key.startsWith('_') || TRAINING_KEYS.includes(key) || value === null || value === false
    || (Array.isArray(value) && value.length === 0));

/**
 * Checks a parsed `config.json` and fills in the defaults of the reference library. Keys that no result depends on are
 * passed over wherever they stand: those of training and storage, and what is switched off, as new features are in files
 * that do without them.
 *
 * @param where the file, for messages
 * @throws FormatError that names file and key
 */
export function parseConfig<T extends z.ZodType>(schema: T, value: unknown, where: string): z.infer<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const inert = result.error.issues.flatMap((issue) => (issue.code === 'unrecognized_keys'
    ? issue.keys.map((key) => [...issue.path, key]).filter((path) => isInert(path.at(-1)!, at(value, path))) : []));
  if (inert.length > 0) return parseConfig(schema, without(value, inert), where);
  const problems = result.error.issues.map((issue) => {
    const key = issue.path.join('.');
    if (issue.code === 'unrecognized_keys') return `unknown key ${issue.keys.map((k) => `"${shown(k)}"`).join(', ')}`;
    const given = at(value, issue.path);
    const needed = issue.code === 'custom' ? issue.message : `supported: ${wanted(issue, given)}`;
    return `"${key}": ${shown(JSON.stringify(given) ?? 'missing')} is not supported (${needed})`;
  });
  const remedy = 'This model uses something Attune does not have; see `attune list models` for what works.';
  throw new FormatError(where, problems.join('; '), remedy);
}

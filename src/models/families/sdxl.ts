/** @file SDXL (arXiv 2307.01952): two text encoders side by side; pooled text and picture sizes in the embedding of time. */
import { concat } from '../../graph/ops/layout.js';
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { clipText, textProjection } from '../clip-text.js';
import type { ClipTextConfig, UNetConfig } from '../config.js';
import { partScope } from '../pipeline.js';
import type { ConditionSpec, ModelFamily } from './family.js';
import { CLIP_L, clipTokenizer, SCHEDULE, VAE } from './published.js';
import {
  guidanceShape, guidanceWidth, stableDiffusionFolder, takesSizes, unetDenoiser, unetLora, unetTraining,
} from './unet.js';

/** Width of the text states of the published models. */
const WIDTH = 2048;

/** Picture sizes for images made whole at this size: [N, 6]. */
export function sizesOf(count: number, height: number, width: number): HostTensor {
  const row = [height, width, 0, 0, height, width];
  return host(Float32Array.from({ length: count * 6 }, (_, i) => row[i % 6]!), [count, 6]);
}

const conditions: ConditionSpec<UNetConfig> = {
  skippedLayers: 1,
  shapes: ({ denoiser: { config }, textEncoders }, batch) => ({
    context: [batch, textEncoders[0]!.tokenizer.maxLength, config.cross_attention_dim],
    pooled: [batch, (textEncoders.at(-1)!.config as ClipTextConfig).projection_dim],
    sizes: [batch, 6],
    ...guidanceShape(config, batch),
  }),
  /** The last states but one of both encoders, joined, and the second one's projection. */
  encode({ textEncoders, precision }, ids, source, adapters, clipSkip = 0) {
    const encoded = textEncoders.map(({ name, config }, i) => {
      const scope = partScope(name, source, adapters, precision);
      return { scope, config: config as ClipTextConfig, states: clipText(scope, config as ClipTextConfig, ids[i]!) };
    });
    const { scope, config, states } = encoded.at(-1)!;
    return {
      context: concat(encoded.map((e) => e.states.hidden.at(-2 - clipSkip)!), 2),
      pooled: textProjection(scope, config, states.pooled),
    };
  },
  settings: ({ height, width }, batch) => ({ sizes: sizesOf(batch, height, width) }),
};

export const sdxl: ModelFamily<UNetConfig> = {
  name: 'sdxl',
  listed: [
    { name: 'SDXL', from: ['folder', 'hub', 'single file'], notes: 'base model; no refiner' },
    {
      name: 'SD-Turbo, SDXL-Turbo', from: ['folder', 'hub'],
      notes: 'with --guidance 0 and 1 to 4 steps; SDXL-Turbo as a single file with --sampler euler-a --spacing trailing too',
    },
  ],
  denoiser: unetDenoiser,
  process: 'variance-preserving',
  conditions,
  folder: {
    ...stableDiffusionFolder,
    pipelines: ['StableDiffusionXLPipeline'],
    owns: takesSizes,
    textEncoders: [...stableDiffusionFolder.textEncoders, { name: 'text_encoder_2', kinds: ['CLIPTextModelWithProjection'] }],
    zeroEmptyNegative: (index) => index['force_zeros_for_empty_prompt'] !== false,
    index: (_, zeroEmptyNegative) => ({
      _class_name: 'StableDiffusionXLPipeline', force_zeros_for_empty_prompt: zeroEmptyNegative,
    }),
  },
  singleFile: {
    names: () => 'sdxl',
    published: {
      names: 'sdxl',
      configs: {
        unet: {
          block_out_channels: [320, 640, 1280], attention_head_dim: [5, 10, 20], transformer_layers_per_block: [1, 2, 10],
          down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
          up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
          cross_attention_dim: WIDTH, use_linear_projection: true, sample_size: 128,
          addition_embed_type: 'text_time', addition_time_embed_dim: 256, projection_class_embeddings_input_dim: 2816,
        },
        vae: { ...VAE, scaling_factor: 0.13025, sample_size: 1024 },
        text_encoder: CLIP_L,
        text_encoder_2: {
          hidden_size: 1280, intermediate_size: 5120, num_hidden_layers: 32, num_attention_heads: 20, projection_dim: 1280,
          hidden_act: 'gelu', eos_token_id: 2,
        },
      },
      scheduler: { _class_name: 'EulerDiscreteScheduler', ...SCHEDULE, timestep_spacing: 'leading' },
      zeroEmptyNegative: true,
      tokenizers: [clipTokenizer(), clipTokenizer({ pad: '!' })],
      denoiser: guidanceWidth,
    },
  },
  lora: { ...unetLora, baseModel: (config) => (config.cross_attention_dim === WIDTH ? 'sdxl' : undefined) },
  float32Parts: ['vae'],
  // Guidance as the pipelines of diffusers take it.
  defaults: { guidance: 5, size: [1024, 1024], training: unetTraining },
};

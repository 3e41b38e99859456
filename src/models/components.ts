/** @file The kinds of model component: class name in files, schema of the configuration, weights. */
import type { z } from 'zod';
import { input } from '../graph/tensor.js';
import type { Shape } from '../graph/dtype.js';
import { weightShapes } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import { clipText, textProjection } from './clip-text.js';
import { clipVision, visualProjection } from './clip-vision.js';
import { clipLogits, imageFeatures, textFeatures } from './clip.js';
import {
  clipConfigSchema, clipTextConfigSchema, clipVisionConfigSchema, tinyVaeConfigSchema, unetConfigSchema,
  vaeConfigSchema,
} from './config.js';
import type { ClipConfig, ClipTextConfig, ClipVisionConfig, TinyVaeConfig, UNetConfig, VaeConfig } from './config.js';
import { tinyDecode, tinyEncode } from './tiny-vae.js';
import { unet } from './unet.js';
import { vaeDecode, vaeEncode } from './vae.js';

/** Configurations by class name. A family that brings classes of its own declares them here too (`declare module`). */
export interface ComponentConfigs {
  UNet2DConditionModel: UNetConfig;
  AutoencoderKL: VaeConfig;
  AutoencoderTiny: TinyVaeConfig;
  CLIPTextModel: ClipTextConfig;
  CLIPTextModelWithProjection: ClipTextConfig;
  CLIPVisionModelWithProjection: ClipVisionConfig;
  CLIPModel: ClipConfig;
}
export type ComponentClass = keyof ComponentConfigs;

export interface ComponentKind<C> {
  /** What transformers calls it in `config.json`, for a class of that library; the others are of diffusers. */
  readonly modelType?: string;
  readonly schema: z.ZodType<C>;
  /** Asks the scope for every weight. */
  touch(scope: Scope, config: C): void;
}

const ids = input('ids', [1, 2], 'int64');
const square = (channels: number, side: number): ReturnType<typeof input> => input('x', [1, channels, side, side]);

export type ComponentKinds = { [K in ComponentClass]?: ComponentKind<ComponentConfigs[K]> };

const KINDS: ComponentKinds = {
  UNet2DConditionModel: {
    schema: unetConfigSchema,
    touch(scope, config) {
      const { projection_class_embeddings_input_dim: joined, addition_time_embed_dim: size } = config;
      unet(scope, config, {
        latents: square(config.in_channels, 2 ** (config.block_out_channels.length - 1)),
        timestep: input('t', [1]),
        context: input('context', [1, 1, config.cross_attention_dim]),
        pooled: input('pooled', [1, joined && size ? joined - 6 * size : 0]),
        sizes: input('sizes', [1, 6]),
        guidance: input('guidance', [1]),
      });
    },
  },
  AutoencoderKL: {
    schema: vaeConfigSchema,
    touch(scope, config) {
      vaeEncode(scope, config, square(config.in_channels, 2 ** config.block_out_channels.length));
      vaeDecode(scope, config, square(config.latent_channels, 1));
    },
  },
  AutoencoderTiny: {
    schema: tinyVaeConfigSchema,
    touch(scope, config) {
      tinyEncode(scope, config, square(config.in_channels, 2 ** config.encoder_block_out_channels.length));
      tinyDecode(scope, config, square(config.latent_channels, 1));
    },
  },
  CLIPTextModel: {
    modelType: 'clip_text_model',
    schema: clipTextConfigSchema,
    touch(scope, config) {
      clipText(scope, config, ids);
    },
  },
  CLIPTextModelWithProjection: {
    modelType: 'clip_text_model',
    schema: clipTextConfigSchema,
    touch(scope, config) {
      textProjection(scope, config, clipText(scope, config, ids).pooled);
    },
  },
  CLIPVisionModelWithProjection: {
    modelType: 'clip_vision_model',
    schema: clipVisionConfigSchema,
    touch(scope, config) {
      visualProjection(scope, config, clipVision(scope, config, square(config.num_channels, config.image_size)).pooled);
    },
  },
  CLIPModel: {
    modelType: 'clip',
    schema: clipConfigSchema,
    touch(scope, config) {
      const { num_channels: channels, image_size: side } = config.vision_config;
      clipLogits(scope, imageFeatures(scope, config, square(channels, side)), textFeatures(scope, config, ids));
    },
  },
};

/** Makes classes known that only one family has. */
export function defineComponents(kinds: ComponentKinds): void {
  Object.assign(KINDS, kinds);
}

function kindOf<K extends ComponentClass>(kind: K): ComponentKind<ComponentConfigs[K]> {
  const found = KINDS[kind];
  if (!found) throw new Error(`no model family has registered the component ${kind}`);
  return found as ComponentKind<ComponentConfigs[K]>;
}

/** `model_type` of a class of transformers; undefined for one of diffusers. */
export const modelTypeOf = (kind: ComponentClass): string | undefined => kindOf(kind).modelType;

/** The schema of a component's `config.json`. */
export function componentSchema<K extends ComponentClass>(kind: K): z.ZodType<ComponentConfigs[K]> {
  return kindOf(kind).schema;
}

/** Names and shapes of all weights of a component. */
export function componentShapes<K extends ComponentClass>(kind: K, config: ComponentConfigs[K]): Map<string, Shape> {
  return weightShapes((scope) => kindOf(kind).touch(scope, config));
}

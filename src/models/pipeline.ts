/** @file A text-to-image model as a value: the configurations of its parts, tokenizers, and all weights in one map. */
import type { HostTensor, Shape } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { FLOAT32 } from '../nn/precision.js';
import type { Precision } from '../nn/precision.js';
import { rootScope } from '../nn/scope.js';
import type { Adapter, Scope, WeightSource } from '../nn/scope.js';
import type { ComponentConfigs } from './components.js';
import type { ClipTextConfig, UNetConfig } from './config.js';
import type { TokenizerOverrides } from './tokenizer-files.js';
import type { Tokenizer } from './tokenizer.js';

/** The parts that have weights; in the weights' map their names begin with it: `unet.conv_in.weight`. */
export type PartName = 'unet' | 'vae' | 'text_encoder' | 'text_encoder_2';

export interface TextEncoder {
  readonly name: 'text_encoder' | 'text_encoder_2';
  readonly kind: 'CLIPTextModel' | 'CLIPTextModelWithProjection';
  readonly config: ClipTextConfig;
  readonly tokenizer: Tokenizer;
  /** What the tokenizer was made from. */
  readonly tokenizerFiles: { readonly folder: string; readonly overrides: TokenizerOverrides };
}

export type Vae =
  | { readonly kind: 'AutoencoderKL'; readonly config: ComponentConfigs['AutoencoderKL'] }
  | { readonly kind: 'AutoencoderTiny'; readonly config: ComponentConfigs['AutoencoderTiny'] };

export interface Pipeline {
  /** Where it was loaded from, for messages and manifests. */
  readonly source: string;
  readonly unet: UNetConfig;
  readonly vae: Vae;
  /** One, or SDXL's two. */
  readonly textEncoders: readonly TextEncoder[];
  /** `scheduler_config.json` as it is; src/schedulers reads it. */
  readonly scheduler: Readonly<Record<string, unknown>>;
  /** SDXL base: an empty negative prompt is encoded as zeros. */
  readonly zeroEmptyNegative: boolean;
  /** Last layers of the text encoders that are left out for prompts, as diffusers counts: 0 is none beside SDXL's one. */
  readonly clipSkip?: number;
  /** float32, by part and name. */
  readonly weights: ReadonlyMap<string, HostTensor>;
}

/** SDXL takes pooled text and picture sizes beside the text states. */
export const isSdxl = (pipeline: Pick<Pipeline, 'unet'>): boolean => pipeline.unet.addition_embed_type === 'text_time';

/** What LoRA files call the family: 'sd1', 'sd2' or 'sdxl', by the width of the text states; undefined for others. */
export function baseModelOf(pipeline: Pick<Pipeline, 'unet'>): string | undefined {
  return { 768: 'sd1', 1024: 'sd2', 2048: 'sdxl' }[pipeline.unet.cross_attention_dim];
}

/** The scope of a part. Weights of all parts can come from one source. */
export function partScope(
  part: PartName, source: WeightSource, adapters: readonly Adapter[] = [], precision: Precision = FLOAT32,
): Scope {
  return rootScope(source, adapters, part, precision);
}

/** Pixels per latent, along one side. */
export function latentFactor({ vae }: Pick<Pipeline, 'vae'>): number {
  const levels = vae.kind === 'AutoencoderKL' ? vae.config.block_out_channels : vae.config.num_encoder_blocks;
  return 2 ** (levels.length - 1);
}

/**
 * Shape of the latents of `batch` images.
 *
 * @throws RangeError if a side does not divide by the VAE's factor
 */
export function latentShape(
  pipeline: Pick<Pipeline, 'vae' | 'unet'>, batch: number, height: number, width: number,
): [number, number, number, number] {
  const factor = latentFactor(pipeline);
  if (height % factor !== 0 || width % factor !== 0 || height < factor || width < factor) {
    throw new RangeError(`images of ${width} × ${height} are not possible: the sides must be multiples of ${factor}`);
  }
  return [batch, pipeline.unet.in_channels, height / factor, width / factor];
}

/** Sides in pixels of the images that the model was trained for, where its configuration tells. */
export function nativeSides(pipeline: Pick<Pipeline, 'vae' | 'unet'>): [width: number, height: number] | undefined {
  const { sample_size: size } = pipeline.unet;
  if (size == null) return undefined;
  const [height, width] = typeof size === 'number' ? [size, size] : (size as [number, number]);
  return [width * latentFactor(pipeline), height * latentFactor(pipeline)];
}

/** Side in pixels of the square images that the model was trained for, where its configuration tells such. */
export function nativeSize(pipeline: Pick<Pipeline, 'vae' | 'unet'>): number | undefined {
  const [width, height] = nativeSides(pipeline) ?? [];
  return width === height ? width : undefined;
}

/** Shapes of what conditions the denoiser, for a batch; names as in `UNetInputs`. */
function conditionShapes(pipeline: Pipeline, batch: number): Record<string, Shape> {
  const { unet, textEncoders } = pipeline;
  return {
    context: [batch, textEncoders[0]!.tokenizer.maxLength, unet.cross_attention_dim],
    ...(isSdxl(pipeline) && { pooled: [batch, textEncoders.at(-1)!.config.projection_dim], sizes: [batch, 6] }),
    ...(unet.time_cond_proj_dim !== null && { guidance: [batch] }),
  };
}

/** Graph inputs `prefix + name` for a condition. */
export function conditionInputs(pipeline: Pipeline, batch: number, prefix = ''): Record<string, Tensor> {
  const shapes = Object.entries(conditionShapes(pipeline, batch));
  return Object.fromEntries(shapes.map(([name, shape]) => [name, input(prefix + name, shape)]));
}

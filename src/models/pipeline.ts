/** @file A text-to-image model as a value: its family, the configurations of its parts, tokenizers, and all weights in one map. */
import type { HostTensor, Shape } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { FLOAT32 } from '../nn/precision.js';
import type { Precision } from '../nn/precision.js';
import { rootScope } from '../nn/scope.js';
import type { Adapter, Scope, WeightSymbols } from '../nn/scope.js';
import type { SegmentOptions } from '../nn/segment.js';
import type { ComponentClass, ComponentConfigs } from './components.js';
import type { Denoiser } from './denoiser.js';
import type { BundledModel, ModelFamily } from './families/family.js';
import type { Tokenizer, TokenizerOverrides } from './tokenizer.js';

/** What is read of a text encoder's configuration whatever its kind. */
export interface TextConfig {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
}

export interface TextEncoder {
  /** Its part: `text_encoder`, `text_encoder_2`. */
  readonly name: string;
  readonly kind: ComponentClass;
  readonly config: TextConfig;
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
  readonly family: ModelFamily;
  /** Which of the package's own models it is; null for all others. */
  readonly bundled: BundledModel | null;
  /** The network that denoises; the family knows its configuration. */
  readonly denoiser: { readonly kind: ComponentClass; readonly config: unknown };
  readonly vae: Vae;
  /** As many as the family has. */
  readonly textEncoders: readonly TextEncoder[];
  /** `scheduler_config.json` as it is; src/schedulers reads it. */
  readonly scheduler: Readonly<Record<string, unknown>>;
  /** An empty negative prompt is encoded as zeros (SDXL base). */
  readonly zeroEmptyNegative: boolean;
  /** Last layers of the text encoders that are left out for prompts, as diffusers counts: 0 is none beside SDXL's one. */
  readonly clipSkip?: number;
  /** What the networks compute in; float32 if it is not told. */
  readonly precision?: Precision;
  /**
   * By part and name: `unet.conv_in.weight`; float32, or stored as `precision` says. The parts are the denoiser (by its family's name for it), `vae` and
   * the text encoders.
   */
  readonly weights: ReadonlyMap<string, HostTensor>;
}

/** What LoRA files call the model's family ('sd1', 'sd2', 'sdxl'); undefined where they have no name for it. */
export const baseModelOf = ({ family, denoiser }: Pick<Pipeline, 'family' | 'denoiser'>): string | undefined =>
  family.lora.baseModel(denoiser.config);

/** The scope of a part. Weights of all parts can come from one source. */
export function partScope(
  part: string, source: WeightSymbols, adapters: readonly Adapter[] = [], precision: Precision = FLOAT32,
): Scope {
  return rootScope(source, adapters, part, precision);
}

/** The pipeline's denoiser over weights from a source. */
export function denoiserOf(
  { family, denoiser, precision }: Pick<Pipeline, 'family' | 'denoiser' | 'precision'>, source: WeightSymbols,
  adapters: readonly Adapter[] = [], options: SegmentOptions = {},
): Denoiser {
  return family.denoiser.network(partScope(family.denoiser.part, source, adapters, precision), denoiser.config, options);
}

/** What the denoiser makes of its inputs early on (`DenoiserSpec.features`), over weights from a source. */
export function featuresOf(
  { family, denoiser, precision }: Pick<Pipeline, 'family' | 'denoiser' | 'precision'>, source: WeightSymbols,
): Denoiser {
  return family.denoiser.features(partScope(family.denoiser.part, source, [], precision), denoiser.config);
}

/** The scope of the pipeline's VAE. */
export const vaeScope = ({ precision }: Pick<Pipeline, 'precision'>, source: WeightSymbols): Scope =>
  partScope('vae', source, [], precision);

/** Pixels per latent, along one side. */
export function latentFactor({ vae }: Pick<Pipeline, 'vae'>): number {
  const levels = vae.kind === 'AutoencoderKL' ? vae.config.block_out_channels : vae.config.num_encoder_blocks;
  return 2 ** (levels.length - 1);
}

/**
 * Shape of the latents of `batch` images.
 *
 * @throws RangeError if a side does not divide by the VAE's factor, times the denoiser's patch
 */
export function latentShape(
  pipeline: Pick<Pipeline, 'vae' | 'family' | 'denoiser'>, batch: number, height: number, width: number,
): [number, number, number, number] {
  const { denoiser } = pipeline.family;
  const factor = latentFactor(pipeline);
  const side = factor * denoiser.patch;
  if (height % side !== 0 || width % side !== 0 || height < side || width < side) {
    throw new RangeError(`images of ${width} × ${height} are not possible: the sides must be multiples of ${side}`);
  }
  return [batch, denoiser.channels(pipeline.denoiser.config), height / factor, width / factor];
}

/** Sides in pixels of the images that the model was trained for, where its configuration tells. */
export function nativeSides(pipeline: Pick<Pipeline, 'vae' | 'family' | 'denoiser'>): [width: number, height: number] | undefined {
  const sides = pipeline.family.denoiser.nativeSides(pipeline.denoiser.config);
  return sides && [sides[0] * latentFactor(pipeline), sides[1] * latentFactor(pipeline)];
}

/** Side in pixels of the square images that the model was trained for, where its configuration tells such. */
export function nativeSize(pipeline: Pick<Pipeline, 'vae' | 'family' | 'denoiser'>): number | undefined {
  const [width, height] = nativeSides(pipeline) ?? [];
  return width === height ? width : undefined;
}

type Conditioned = Pick<Pipeline, 'family' | 'denoiser' | 'textEncoders'>;

/** Shapes of what conditions the denoiser, for a batch. */
const conditionShapes = (pipeline: Conditioned, batch: number): Record<string, Shape> =>
  pipeline.family.conditions.shapes(pipeline, batch);

/** Guidance is an input of the network itself (LCM), not a second call of it. */
export const hasGuidanceInput = (pipeline: Conditioned): boolean => 'guidance' in conditionShapes(pipeline, 1);

/** Graph inputs `prefix + name` for a condition. */
export function conditionInputs(pipeline: Conditioned, batch: number, prefix = ''): Record<string, Tensor> {
  const shapes = Object.entries(conditionShapes(pipeline, batch));
  return Object.fromEntries(shapes.map(([name, shape]) => [name, input(prefix + name, shape)]));
}

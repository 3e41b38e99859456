/**
 * @file What generic code has to know of a family of text-to-image models, as one record. A new family is a record in this
 * folder and a line in registry.ts; no method, trainer or command names one.
 */
import type { LoraDialect } from '../../formats/lora-file.js';
import type { Family as OriginalNames, SingleFile } from '../../formats/names/single-file.js';
import type { WeightSource } from '../../formats/weights.js';
import type { HostTensor, Shape } from '../../graph/dtype.js';
import type { Tensor } from '../../graph/tensor.js';
import type { Precision } from '../../nn/precision.js';
import type { Adapter, Scope, WeightSymbols } from '../../nn/scope.js';
import type { SegmentOptions } from '../../nn/segment.js';
import type { ComponentClass, ComponentKinds } from '../components.js';
import type { Denoiser } from '../denoiser.js';
import type { TextEncoder } from '../pipeline.js';
import type { TokenizerOverrides } from '../tokenizer.js';

/** What a condition depends on beside the prompt. */
export interface ConditionSettings {
  /** Sides of the images in pixels. */
  readonly height: number;
  readonly width: number;
}

/** The network that denoises. `C` is its parsed configuration. */
export interface DenoiserSpec<C> {
  /** Its folder, the beginning of its weights' names, and its component in LoRA files: `unet`, `transformer`. */
  readonly part: string;
  /** Its classes in `model_index.json`; the first is that of single files. */
  readonly kinds: readonly ComponentClass[];
  network(scope: Scope, config: C, options?: SegmentOptions): Denoiser;
  /** What the network makes of its inputs early on, by which pictures differ: [B, C, …], pooled over the positions by whoever asks. */
  features(scope: Scope, config: C): Denoiser;
  /** Channels of the latents that it takes [B, C, h, w]. A family that packs them does so inside its network. */
  channels(config: C): number;
  /** Sides of the latents must be multiples of this: the patches of a transformer. */
  readonly patch: number;
  /** Sides of the latents that it was trained on, where the configuration tells. */
  nativeSides(config: C): readonly [width: number, height: number] | undefined;
  /** A network of the same kind and a fraction of the width, to be trained beside it (∇-DB's g_φ). */
  small(config: C): C;
  /** The weights that start at zero in a network trained from nothing, so that it first predicts zeros. */
  readonly zeroAtFirst: RegExp;
}

/** What the denoiser is told beside latents and time. A condition `guidance` [B] is fed with the guidance scale. */
export interface ConditionSpec<C> {
  /** Last layers of the text encoders that are left out without any clip skip. */
  readonly skippedLayers: number;
  /** Shapes of all by name, for a batch. */
  shapes(pipeline: Conditioned<C>, batch: number): Record<string, Shape>;
  /**
   * Those made of prompts, in a graph; their first axis is the batch.
   *
   * @param ids for each text encoder [B, N], int64
   * @param clipSkip last layers left out, as diffusers counts; undefined for negative prompts, as there
   */
  encode(
    pipeline: Conditioned<C>, ids: readonly Tensor[], source: WeightSymbols, adapters: readonly Adapter[], clipSkip?: number,
  ): Record<string, Tensor>;
  /** Those made of the settings, but for `guidance`, for a batch of this size. */
  settings(settings: ConditionSettings, batch: number): Record<string, HostTensor>;
}

/** A pipeline as its family sees it. */
export interface Conditioned<C> {
  readonly denoiser: { readonly config: C };
  readonly precision?: Precision;
  readonly textEncoders: readonly TextEncoder[];
}

export interface TextEncoderSpec {
  /** Its folder, the beginning of its weights' names, and its component in LoRA files. */
  readonly name: string;
  /** Its classes in `model_index.json`; the first is that of single files. */
  readonly kinds: readonly ComponentClass[];
}

/** How a model lies in a folder in diffusers layout, also on the hub. */
export interface FolderSpec<C> {
  /** `_class_name` of `model_index.json`. Families that share one are told apart by `owns`. */
  readonly pipelines: readonly string[];
  /** Whether a model of such a class with this denoiser is of this family. */
  owns(config: C): boolean;
  readonly textEncoders: readonly TextEncoderSpec[];
  /** What the pipeline's class makes of the scheduler's configuration, whatever the file says. */
  scheduler(index: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
  /** Whether an empty negative prompt is zeros instead of its text states. */
  zeroEmptyNegative(index: Readonly<Record<string, unknown>>): boolean;
  /** `_class_name` and the entries beside those of the parts, to be written. */
  index(config: C, zeroEmptyNegative: boolean): Readonly<Record<string, unknown>>;
  /** What of the parts does not fit together; null if all does. */
  misfit(config: C, textEncoders: readonly TextEncoder[]): string | null;
}

/** How a published model of the family is built, for single files, which do not say. */
export interface PublishedModel {
  /** Configurations by part; what they leave out is the default of the reference libraries. */
  readonly configs: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly scheduler: Readonly<Record<string, unknown>>;
  readonly zeroEmptyNegative: boolean;
  /** Where each text encoder's tokenizer is found, and what it has otherwise there. */
  readonly tokenizers: readonly { repository: string; files: readonly string[]; overrides: TokenizerOverrides }[];
  /** What the network predicts where a file does not tell it, and the reason; absent where all predict the same. */
  guessPrediction?(file: WeightSource, found: SingleFile): Promise<{ prediction: 'epsilon' | 'v_prediction'; warning: string }>;
  /** What the file's weights and its prediction change in the denoiser's configuration. */
  denoiser(weights: WeightSource, found: SingleFile): Readonly<Record<string, unknown>>;
}

/** Checkpoints in one file with the names of the original code, which src/formats knows. */
export interface SingleFileSpec {
  /** The names that a model with these configurations (by part) has. */
  names(configs: Readonly<Record<string, unknown>>): OriginalNames;
  /** The published model with these names; null if the family is none of those. */
  readonly published: (PublishedModel & { readonly names: OriginalNames }) | null;
}

export interface LoraSpec<C> {
  /** Ends of the paths of the attention's layers: what the reward fine-tuning papers adapt. */
  readonly attention: readonly string[];
  /** What LoRA files call such a model (`sd1`); undefined if they have no name for it. */
  baseModel(config: C): string | undefined;
  /** What a trained LoRA is written in; `diffusers` is always among them. */
  readonly dialects: readonly LoraDialect[];
}

export interface FamilyDefaults {
  /** Guidance of sampling. */
  readonly guidance: number;
  /** Of the images in pixels, where the configuration does not tell. */
  readonly size: readonly [width: number, height: number];
  /** Settings of `attune train` that differ from those of the bundled model, as in a configuration file. */
  readonly training: Readonly<Record<string, unknown>>;
}

/** A line of `attune list models`. */
export interface Listed {
  readonly name: string;
  readonly from: readonly ('folder' | 'hub' | 'single file')[];
  readonly notes: string;
}

export interface ModelFamily<C = unknown> {
  readonly name: string;
  readonly listed: readonly Listed[];
  /** Classes of component that only this family has. */
  readonly components?: ComponentKinds;
  readonly denoiser: DenoiserSpec<C>;
  /** What noises its data: decides which samplers there are for it. The numbers are in a model's scheduler file. */
  readonly process: 'variance-preserving' | 'rectified-flow';
  readonly conditions: ConditionSpec<C>;
  readonly folder: FolderSpec<C>;
  readonly singleFile?: SingleFileSpec;
  readonly lora: LoraSpec<C>;
  /** Parts that compute in float32 in every precision: their numbers go beyond half precision's. */
  readonly float32Parts?: readonly string[];
  readonly defaults: FamilyDefaults;
}

/** A model that comes with the package, and what comes along with it. */
export interface BundledModel {
  readonly name: string;
  readonly family: ModelFamily;
  /** The same from `src/` and from `dist/`. */
  readonly folder: string;
  readonly notes: string;
  /** A judge that is never trained on, by its name as a reward. */
  readonly heldOut: string;
  /** A CLIP folder whose image features measure diversity and Fréchet distance. */
  readonly features: string;
  /** The bundled list of prompts that no other overlaps but the one of all names. */
  readonly heldOutPrompts: string;
  /** What `attune search` searches by where nothing else is given. */
  readonly searchReward: string;
}

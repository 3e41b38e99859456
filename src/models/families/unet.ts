/** @file What all families with Stable Diffusion's U-Net share. */
import type { WeightSource } from '../../formats/weights.js';
import type { Tensor } from '../../graph/tensor.js';
import type { UNetConfig } from '../config.js';
import type { Denoiser } from '../denoiser.js';
import type { TextEncoder } from '../pipeline.js';
import { unet, unetFeatures } from '../unet.js';
import type { UNetInputs } from '../unet.js';
import type { DenoiserSpec, FamilyDefaults, FolderSpec, LoraSpec } from './family.js';

/** The published flow network of ∇-DB has 64, 128, 256, 256 channels beside Stable Diffusion's 320, 640, 1280, 1280. */
const SHRINK = 5;

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));

/** One layer a block and a fifth of the channels, in whole norm groups and heads. */
function smallUnet(config: UNetConfig): UNetConfig {
  const groups = config.norm_num_groups;
  const channels = config.block_out_channels.map((c) => Math.max(1, Math.ceil(c / SHRINK / groups)) * groups);
  const heads = config.attention_head_dim; // the number of heads, in spite of its name
  return {
    ...config,
    layers_per_block: 1,
    block_out_channels: channels,
    attention_head_dim: channels.map((c, i) => commonDivisor(c, typeof heads === 'number' ? heads : heads[i]!)),
  };
}

function nativeSides({ sample_size: size }: UNetConfig): readonly [number, number] | undefined {
  if (size == null) return undefined;
  const [height, width] = typeof size === 'number' ? [size, size] : (size as [number, number]);
  return [width, height];
}

const called = (network: (inputs: UNetInputs) => Tensor): Denoiser => (latents, timestep, { context, ...rest }) => {
  if (!context) throw new Error('the condition of a U-Net has no "context"');
  return network({ latents, timestep, context, ...rest });
};

/** `UNet2DConditionModel` of diffusers; conditions have the names of `UNetInputs`. */
export const unetDenoiser: DenoiserSpec<UNetConfig> = {
  part: 'unet',
  kinds: ['UNet2DConditionModel'],
  network: (scope, config, options) => called((inputs) => unet(scope, config, inputs, options)),
  features: (scope, config) => called((inputs) => unetFeatures(scope, config, inputs)),
  channels: (config) => config.in_channels,
  patch: 1,
  nativeSides,
  small: smallUnet,
  zeroAtFirst: /^(unet\.)?conv_out\./,
};

/** Whether the network takes pooled text and picture sizes beside the text states, as SDXL's. */
export const takesSizes = (config: UNetConfig): boolean => config.addition_embed_type === 'text_time';

/** The guidance scale as an input (LCM). */
export const guidanceShape = (config: UNetConfig, batch: number): { guidance?: number[] } =>
  (config.time_cond_proj_dim === null ? {} : { guidance: [batch] });

/** LCM's U-Nets have an embedding of guidance, whose width a single file shows. */
export function guidanceWidth(weights: WeightSource): { time_cond_proj_dim?: number } {
  const embedding = weights.tensors.get('time_embedding.cond_proj.weight');
  return embedding ? { time_cond_proj_dim: embedding.shape[1]! } : {};
}

/** What of U-Net and text encoders does not fit. */
function unetMisfit(config: UNetConfig, textEncoders: readonly TextEncoder[]): string | null {
  if (takesSizes(config) !== (textEncoders.length === 2)) return `the U-Net does not fit ${textEncoders.length} text encoder(s)`;
  const width = textEncoders.reduce((sum, encoder) => sum + encoder.config.hidden_size, 0);
  if (config.cross_attention_dim === width) return null;
  return `the U-Net attends to text states of width ${config.cross_attention_dim}, the text encoders give ${width}`;
}

/** The folder of Stable Diffusion 1 and 2, which have an offset of 1 and no clipping whatever the file says, as in diffusers. */
export const stableDiffusionFolder: Omit<FolderSpec<UNetConfig>, 'owns'> = {
  pipelines: ['StableDiffusionPipeline', 'LatentConsistencyModelPipeline'],
  textEncoders: [{ name: 'text_encoder', kinds: ['CLIPTextModel', 'CLIPTextModelWithProjection'] }],
  scheduler: (index) => (index['_class_name'] === 'StableDiffusionPipeline' ? { steps_offset: 1, clip_sample: false } : {}),
  zeroEmptyNegative: () => false,
  index: (config) => ({
    _class_name: config.time_cond_proj_dim === null ? 'StableDiffusionPipeline' : 'LatentConsistencyModelPipeline',
    requires_safety_checker: false, safety_checker: [null, null],
  }),
  misfit: unetMisfit,
};

/** Layers of U-Nets, by the ends of their paths. */
const ATTENTION = ['to_q', 'to_k', 'to_v', 'to_out.0'];

/** Every layer that a LoRA may well sit on: attention, feed-forward and convolutions but those that change the resolution. */
export const UNET_LAYERS: readonly string[] = [
  ...ATTENTION, 'ff.net.0.proj', 'ff.net.2', 'conv1', 'conv2', 'conv_shortcut', 'proj_in', 'proj_out',
];

export const unetLora: Omit<LoraSpec<UNetConfig>, 'baseModel'> = {
  attention: ATTENTION,
  dialects: ['kohya', 'diffusers', 'diffusers-old', 'peft'],
};

/** Where Stable Diffusion is trained otherwise than the bundled model: as in AlignProp, DDPO, nabla-GFN; DRaFT's LoRAs. */
export const unetTraining: FamilyDefaults['training'] = {
  lr: 4e-4, samplingSteps: 20, guidance: 5, lora: { targets: [...ATTENTION] },
};

/** @file Stable Diffusion 1.x and 2.x (arXiv 2112.10752): a U-Net that attends to the states of one CLIP text encoder. */
import { guessPrediction } from '../../formats/names/single-file.js';
import type { Tensor } from '../../graph/tensor.js';
import { clipText, finalNorm } from '../clip-text.js';
import type { ClipTextConfig, UNetConfig } from '../config.js';
import { partScope } from '../pipeline.js';
import type { ConditionSpec, ModelFamily, SingleFileSpec } from './family.js';
import { CLIP_L, clipTokenizer, SCHEDULE, VAE } from './published.js';
import {
  guidanceShape, guidanceWidth, stableDiffusionFolder, takesSizes, unetDenoiser, unetLora, unetTraining,
} from './unet.js';

/** The last state after the final norm; SD 2.x encoders come without their last layer. Context [B, N, D]. */
export const oneEncoder: ConditionSpec<UNetConfig> = {
  skippedLayers: 0,
  shapes: ({ denoiser: { config }, textEncoders }, batch) => ({
    context: [batch, textEncoders[0]!.tokenizer.maxLength, config.cross_attention_dim], ...guidanceShape(config, batch),
  }),
  encode({ textEncoders, precision }, ids, source, adapters, clipSkip): { context: Tensor } {
    const { name, config } = textEncoders[0]!;
    const scope = partScope(name, source, adapters, precision);
    const states = clipText(scope, config as ClipTextConfig, ids[0]!);
    const skipped = clipSkip === undefined ? null : states.hidden.at(-1 - clipSkip)!;
    return { context: skipped ? finalNorm(scope, config as ClipTextConfig, skipped) : states.last };
  },
  settings: () => ({}),
};

/** OpenCLIP's encoders have another activation than OpenAI's: that tells SD 2.x from 1.x. */
export const originalNames: SingleFileSpec['names'] = ({ text_encoder: text }) =>
  ((text as { hidden_act?: unknown } | undefined)?.hidden_act === 'gelu' ? 'sd2' : 'sd1');

/** Width of the text states. */
const [SD1, SD2] = [768, 1024] as const;

const ofWidth = (width: number) => (config: UNetConfig): boolean =>
  !takesSizes(config) && config.cross_attention_dim === width;

export const sd1: ModelFamily<UNetConfig> = {
  name: 'sd1',
  listed: [
    { name: 'Stable Diffusion 1.x', from: ['folder', 'hub', 'single file'], notes: 'and fine-tunes of it' },
    { name: 'BK-SDM, tiny-sd, small-sd', from: ['folder', 'hub'], notes: 'distillations of Stable Diffusion 1.x' },
    { name: 'LCM', from: ['folder', 'hub', 'single file'], notes: 'with --sampler lcm' },
  ],
  denoiser: unetDenoiser,
  process: 'variance-preserving',
  conditions: oneEncoder,
  folder: { ...stableDiffusionFolder, owns: ofWidth(SD1) },
  singleFile: {
    names: originalNames,
    published: {
      names: 'sd1',
      configs: {
        unet: { cross_attention_dim: SD1, attention_head_dim: 8, sample_size: 64 },
        vae: VAE,
        text_encoder: CLIP_L,
      },
      scheduler: { _class_name: 'DDIMScheduler', ...SCHEDULE },
      zeroEmptyNegative: false,
      tokenizers: [clipTokenizer()],
      denoiser: guidanceWidth,
    },
  },
  lora: { ...unetLora, baseModel: () => 'sd1' },
  // Guidance as the pipelines of diffusers take it.
  defaults: { guidance: 7.5, size: [512, 512], training: unetTraining },
};

export const sd2: ModelFamily<UNetConfig> = {
  ...sd1,
  name: 'sd2',
  listed: [{
    name: 'Stable Diffusion 2.x', from: ['folder', 'hub', 'single file'],
    notes: 'single files that do not tell what they predict: by their weights, or --prediction',
  }],
  folder: { ...stableDiffusionFolder, owns: ofWidth(SD2) },
  singleFile: {
    names: originalNames,
    published: {
      names: 'sd2',
      configs: {
        unet: { cross_attention_dim: SD2, attention_head_dim: [5, 10, 20, 20], use_linear_projection: true, sample_size: 96 },
        vae: VAE,
        text_encoder: {
          hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 23, num_attention_heads: 16, projection_dim: 512,
          hidden_act: 'gelu', eos_token_id: 2,
        },
      },
      scheduler: { _class_name: 'DDIMScheduler', ...SCHEDULE, prediction_type: 'v_prediction' },
      zeroEmptyNegative: false,
      tokenizers: [clipTokenizer({ pad: '!' })],
      async guessPrediction(file, { inChannels }) {
        const { prediction, reason } = await guessPrediction(file, inChannels);
        const [what, other] = prediction === 'epsilon' ? ['the noise', 'v_prediction'] : ['v', 'epsilon'];
        const warning = `${file.where} is an SD 2.x model that does not say what it predicts; ${reason}, so that `
          + `${what} is assumed. If images are only noise or blotches, give --prediction ${other}`;
        return { prediction, warning };
      },
      // What predicts the noise was trained on 512 pixels.
      denoiser: (weights, { prediction }) => ({ ...(prediction === 'epsilon' && { sample_size: 64 }), ...guidanceWidth(weights) }),
    },
  },
  lora: { ...unetLora, baseModel: () => 'sd2' },
};

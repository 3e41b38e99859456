/** @file The variational autoencoder of latent diffusion, `AutoencoderKL` of diffusers (arXiv 2112.10752). */
import { silu } from '../graph/ops/activation.js';
import { add, clip } from '../graph/ops/arithmetic.js';
import { flatten, narrow, reshape, swapLast } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { DIFFUSION_PROJECTIONS, multiHeadAttention } from '../nn/attention.js';
import { conv } from '../nn/conv.js';
import { groupNorm } from '../nn/norm.js';
import { downsampleAsymmetric, resnetBlock, upsample } from '../nn/resnet.js';
import type { ResnetOptions } from '../nn/resnet.js';
import { segment } from '../nn/segment.js';
import type { SegmentOptions } from '../nn/segment.js';
import { enter, leave } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import type { VaeConfig } from './config.js';

/** Of all norms in the VAE; no key of the configuration tells it. */
const EPSILON = 1e-6;

/**
 * Mean and log-variance of the latents of an image, without the scaling factor.
 *
 * @param image [B, 3, H, W] in [−1, 1]
 * @returns two tensors [B, 4, H/f, W/f], f = 2^(blocks − 1)
 */
export function vaeEncode(
  scope: Scope, config: VaeConfig, image: Tensor, options?: SegmentOptions,
): { mean: Tensor; logvar: Tensor } {
  const { block_out_channels: widths, latent_channels: latent } = config;
  const encoder = scope.at('encoder');
  const run = segment(options);
  let h = conv(encoder.at('conv_in'), image, widths[0]!);
  widths.forEach((width, i) => {
    const block = encoder.at('down_blocks').at(i);
    for (let j = 0; j < config.layers_per_block; j++) {
      h = run((x) => resnetBlock(block.at('resnets').at(j), x, width, resnet(config)), h);
    }
    if (i < widths.length - 1) h = downsampleAsymmetric(block.at('downsamplers.0'), h);
  });
  h = out(encoder, config, run((x) => vaeMidBlock(encoder.at('mid_block'), config, x), h), 2 * latent);
  const moments = config.use_quant_conv ? leave(conv(scope.at('quant_conv'), h, 2 * latent, { kernel: 1 })) : h;
  return { mean: narrow(moments, 1, 0, latent), logvar: clip(narrow(moments, 1, latent, 2 * latent), -30, 20) };
}

/**
 * The image of latents, without the scaling factor and not clamped.
 *
 * @param latents [B, 4, h, w]
 * @returns [B, 3, f·h, f·w] about in [−1, 1]
 */
export function vaeDecode(scope: Scope, config: VaeConfig, latents: Tensor, options?: SegmentOptions): Tensor {
  const widths = config.block_out_channels.toReversed();
  const decoder = scope.at('decoder');
  const run = segment(options);
  const { latent_channels: latent, use_post_quant_conv: mixes } = config;
  const z = mixes ? conv(scope.at('post_quant_conv'), latents, latent, { kernel: 1 }) : latents;
  let h = conv(decoder.at('conv_in'), z, widths[0]!);
  h = run((x) => vaeMidBlock(decoder.at('mid_block'), config, x), h);
  widths.forEach((width, i) => {
    const block = decoder.at('up_blocks').at(i);
    for (let j = 0; j <= config.layers_per_block; j++) {
      h = run((x) => resnetBlock(block.at('resnets').at(j), x, width, resnet(config)), h);
    }
    if (i < widths.length - 1) h = run((x) => upsample(block.at('upsamplers.0'), x), h);
  });
  return out(decoder, config, h, config.out_channels);
}

const resnet = (config: VaeConfig): ResnetOptions => ({ groups: config.norm_num_groups, epsilon: EPSILON });

/** The middle of encoder and decoder: residual block, attention over all positions, residual block. */
export function vaeMidBlock(scope: Scope, config: VaeConfig, x: Tensor): Tensor {
  const width = x.shape[1]!;
  const first = resnetBlock(scope.at('resnets.0'), x, width, resnet(config));
  const mixed = config.mid_block_add_attention ? spatialAttention(scope.at('attentions.0'), config, first) : first;
  return resnetBlock(scope.at('resnets.1'), mixed, width, resnet(config));
}

/** One head over all positions, with a residual: [B, C, H, W] → same. */
function spatialAttention(scope: Scope, config: VaeConfig, x: Tensor): Tensor {
  const normed = groupNorm(scope.at('group_norm'), x, config.norm_num_groups, EPSILON);
  const rows = swapLast(flatten(normed, 2)); // [B, HW, C]
  const mixed = multiHeadAttention(scope, rows, { heads: 1, names: DIFFUSION_PROJECTIONS });
  return add(reshape(swapLast(mixed), x.shape), enter(scope, x));
}

function out(scope: Scope, config: VaeConfig, x: Tensor, channels: number): Tensor {
  const normed = groupNorm(scope.at('conv_norm_out'), x, config.norm_num_groups, EPSILON);
  return leave(conv(scope.at('conv_out'), silu(normed), channels));
}

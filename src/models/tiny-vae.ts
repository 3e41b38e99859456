/** @file The tiny autoencoder TAESD, `AutoencoderTiny` of diffusers (github.com/madebyollin/taesd). */
import { relu } from '../graph/ops/activation.js';
import { add, div, mul, sub, tanh } from '../graph/ops/arithmetic.js';
import type { Tensor } from '../graph/tensor.js';
import { conv } from '../nn/conv.js';
import { upsampleNearest } from '../graph/ops/resize.js';
import { enter, leave } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import { segment } from '../nn/segment.js';
import type { SegmentOptions } from '../nn/segment.js';
import type { TinyVaeConfig } from './config.js';

/**
 * Latents of an image, already scaled as the U-Net wants them.
 *
 * @param image [B, 3, H, W] in [−1, 1]
 * @returns [B, 4, H/f, W/f], f = 2^(blocks − 1)
 */
export function tinyEncode(scope: Scope, config: TinyVaeConfig, image: Tensor, options?: SegmentOptions): Tensor {
  const layers = scope.at('encoder.layers');
  const run = segment(options);
  let at = 0;
  let h = mul(add(image, 1), 0.5); // TAESD works on [0, 1]
  config.num_encoder_blocks.forEach((blocks, i) => {
    const width = config.encoder_block_out_channels[i]!;
    const entry = layers.at(at++);
    h = i === 0 ? conv(entry, h, width) : conv(entry, h, width, { stride: 2, bias: false });
    for (let j = 0; j < blocks; j++) h = run(block(layers.at(at++), width), h);
  });
  return leave(conv(layers.at(at), h, config.latent_channels));
}

/**
 * The image of latents, not clamped.
 *
 * @param latents [B, 4, h, w], scaled as the U-Net makes them
 * @returns [B, 3, f·h, f·w] about in [−1, 1]
 */
export function tinyDecode(scope: Scope, config: TinyVaeConfig, latents: Tensor, options?: SegmentOptions): Tensor {
  const layers = scope.at('decoder.layers');
  const run = segment(options);
  let at = 0;
  let h = relu(conv(layers.at(at++), mul(tanh(div(latents, 3)), 3), config.decoder_block_out_channels[0]!));
  at++; // that ReLU is a layer of its own
  config.num_decoder_blocks.forEach((blocks, i) => {
    const width = config.decoder_block_out_channels[i]!;
    const last = i === config.num_decoder_blocks.length - 1;
    for (let j = 0; j < blocks; j++) h = run(block(layers.at(at++), width), h);
    if (!last) {
      at++; // the upsampling layer
      h = upsampleNearest(h, 2);
    }
    h = last ? conv(layers.at(at++), h, config.out_channels) : conv(layers.at(at++), h, width, { bias: false });
  });
  return sub(mul(leave(h), 2), 1);
}

/** Three convolutions with a residual: x [B, C, H, W] → [B, width, H, W]. */
function block(scope: Scope, width: number): (x: Tensor) => Tensor {
  return (x) => {
    let h = relu(conv(scope.at('conv.0'), x, width));
    h = relu(conv(scope.at('conv.2'), h, width));
    h = conv(scope.at('conv.4'), h, width);
    const shortcut = x.shape[1] === width ? enter(scope, x) : conv(scope.at('skip'), x, width, { kernel: 1, bias: false });
    return relu(add(h, shortcut));
  };
}

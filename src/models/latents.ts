/** @file Images ↔ the latents that a denoiser works on, whichever autoencoder a pipeline has. */
import { add, clip, div, exp, mul, sub } from '../graph/ops/arithmetic.js';
import type { Tensor } from '../graph/tensor.js';
import type { Scope } from '../nn/scope.js';
import type { SegmentOptions } from '../nn/segment.js';
import type { Vae } from './pipeline.js';
import { tinyDecode, tinyEncode } from './tiny-vae.js';
import { vaeDecode, vaeEncode } from './vae.js';

/**
 * Images of latents as the denoiser makes them.
 *
 * @param latents [B, C, h, w]
 * @returns [B, 3, H, W] in [0, 1]; no gradient flows where a value had to be clamped
 */
export function decodeImages(scope: Scope, vae: Vae, latents: Tensor, options?: SegmentOptions): Tensor {
  const z = add(div(latents, vae.config.scaling_factor), vae.config.shift_factor ?? 0);
  const image = vae.kind === 'AutoencoderKL'
    ? vaeDecode(scope, vae.config, z, options)
    : tinyDecode(scope, vae.config, z, options);
  return clip(add(mul(image, 0.5), 0.5), 0, 1);
}

/**
 * Latents of images as the denoiser expects them: mean and, of a variational autoencoder, deviation to sample with.
 *
 * @param images [B, 3, H, W] in [0, 1]
 * @returns tensors [B, C, h, w]
 */
export function encodeImages(
  scope: Scope, vae: Vae, images: Tensor, options?: SegmentOptions,
): { mean: Tensor; deviation?: Tensor } {
  const { scaling_factor: factor, shift_factor: shift } = vae.config;
  const scaled = (z: Tensor): Tensor => mul(shift ? sub(z, shift) : z, factor);
  const signed = sub(mul(images, 2), 1);
  if (vae.kind === 'AutoencoderTiny') return { mean: scaled(tinyEncode(scope, vae.config, signed, options)) };
  const { mean, logvar } = vaeEncode(scope, vae.config, signed, options);
  return { mean: scaled(mean), deviation: mul(exp(mul(logvar, 0.5)), factor) };
}

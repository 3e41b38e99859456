/** @file The residual block of U-Nets and VAEs, and the layers between resolutions. */
import { silu } from '../graph/ops/activation.js';
import { add } from '../graph/ops/arithmetic.js';
import { narrow, reshape } from '../graph/ops/layout.js';
import { upsampleNearest } from '../graph/ops/resize.js';
import type { Tensor } from '../graph/tensor.js';
import { conv } from './conv.js';
import { linear } from './linear.js';
import { groupNorm } from './norm.js';
import { enter } from './scope.js';
import type { Scope } from './scope.js';

export interface ResnetOptions {
  groups: number;
  epsilon: number;
  /** silu(time embedding) [B, E], added between the convolutions. */
  time?: Tensor;
}

/** x [B, C, H, W] → [B, outChannels, H, W]. */
export function resnetBlock(scope: Scope, x: Tensor, outChannels: number, options: ResnetOptions): Tensor {
  const { groups, epsilon, time } = options;
  let h = conv(scope.at('conv1'), silu(groupNorm(scope.at('norm1'), x, groups, epsilon)), outChannels);
  if (time) {
    const shift = linear(scope.at('time_emb_proj'), time, outChannels);
    h = add(h, reshape(shift, [...shift.shape, 1, 1]));
  }
  h = conv(scope.at('conv2'), silu(groupNorm(scope.at('norm2'), h, groups, epsilon)), outChannels);
  const shortcut = x.shape[1] === outChannels ? enter(scope, x) : conv(scope.at('conv_shortcut'), x, outChannels, { kernel: 1 });
  return add(shortcut, h);
}

/** Halves the resolution by a strided convolution: x [B, C, H, W] → [B, C, ⌈H/2⌉, ⌈W/2⌉]. */
export function downsample(scope: Scope, x: Tensor): Tensor {
  return conv(scope.at('conv'), x, x.shape[1]!, { stride: 2 });
}

/** Like `downsample`, padded on the right and below only, as in VAE encoders: → [B, C, ⌊H/2⌋, ⌊W/2⌋]. */
export function downsampleAsymmetric(scope: Scope, x: Tensor): Tensor {
  return conv(scope.at('conv'), x, x.shape[1]!, { stride: 2, padding: [0, 0, 1, 1] });
}

/**
 * Doubles the resolution and convolves.
 *
 * @param size [H', W'] to end with where the way down had an odd side: 2H or 2H − 1, 2W or 2W − 1
 */
export function upsample(scope: Scope, x: Tensor, size?: readonly [number, number]): Tensor {
  let big = upsampleNearest(x, 2);
  if (size) big = narrow(narrow(big, 2, 0, size[0]), 3, 0, size[1]);
  return conv(scope.at('conv'), big, x.shape[1]!);
}

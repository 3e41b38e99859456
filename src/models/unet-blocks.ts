/** @file The blocks of the conditional U-Net: residual blocks, each followed by a transformer over positions. */
import { add } from '../graph/ops/arithmetic.js';
import { concat, flatten, reshape, swapLast } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { DIFFUSION_PROJECTIONS, multiHeadAttention } from '../nn/attention.js';
import { conv } from '../nn/conv.js';
import { gegluFeedForward } from '../nn/feed-forward.js';
import { linear } from '../nn/linear.js';
import { groupNorm, layerNorm } from '../nn/norm.js';
import { downsample, resnetBlock, upsample } from '../nn/resnet.js';
import { enter } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import type { Segment } from '../nn/segment.js';

/** What all blocks of one forward pass share. */
export interface BlockInputs {
  /** silu(time embedding) [B, E] */
  time: Tensor;
  /** text states [B, T, C'] */
  context: Tensor;
  groups: number;
  epsilon: number;
  linearProjection: boolean;
  run: Segment;
}

export interface BlockShape {
  channels: number;
  layers: number;
  /** Number of heads, or null for a block without transformers. */
  heads: number | null;
  /** Transformer layers in each transformer. */
  depth: number;
  /** Whether a change of resolution ends the block. */
  resample: boolean;
}

/** @returns the result and every state a skip connection starts from */
export function downBlock(
  scope: Scope, x: Tensor, shape: BlockShape, inputs: BlockInputs,
): { h: Tensor; skips: Tensor[] } {
  let h = x;
  const skips: Tensor[] = [];
  for (let i = 0; i < shape.layers; i++) {
    h = layer(scope, i, h, shape, inputs);
    skips.push(h);
  }
  if (shape.resample) {
    h = downsample(scope.at('downsamplers.0'), h);
    skips.push(h);
  }
  return { h, skips };
}

/** The middle: residual block, transformer, residual block. */
export function midBlock(scope: Scope, x: Tensor, shape: BlockShape, inputs: BlockInputs): Tensor {
  const h = layer(scope, 0, x, shape, inputs);
  return resnet(scope.at('resnets.1'), h, shape.channels, inputs);
}

/** @param skips taken from the end, one per layer; the one left at the end tells the resolution to come back to */
export function upBlock(scope: Scope, x: Tensor, skips: Tensor[], shape: BlockShape, inputs: BlockInputs): Tensor {
  let h = x;
  for (let i = 0; i < shape.layers; i++) {
    h = layer(scope, i, concat([enter(scope, h), enter(scope, skips.pop()!)], 1), shape, inputs);
  }
  if (!shape.resample) return h;
  const [height, width] = skips.at(-1)!.shape.slice(2) as [number, number];
  return upsample(scope.at('upsamplers.0'), h, [height, width]);
}

function layer(scope: Scope, i: number, x: Tensor, shape: BlockShape, inputs: BlockInputs): Tensor {
  const h = resnet(scope.at('resnets').at(i), x, shape.channels, inputs);
  return shape.heads ? transformer(scope.at('attentions').at(i), h, shape.heads, shape.depth, inputs) : h;
}

function resnet(scope: Scope, x: Tensor, channels: number, { groups, epsilon, time, run }: BlockInputs): Tensor {
  return run((t) => resnetBlock(scope, t, channels, { groups, epsilon, time }), x);
}

/** `Transformer2DModel`: positions as a sequence, with a residual around all: x [B, C, H, W] → same. */
function transformer(scope: Scope, x: Tensor, heads: number, depth: number, inputs: BlockInputs): Tensor {
  const { groups, linearProjection, context, run } = inputs;
  const c = x.shape[1]!;
  const rows = (t: Tensor): Tensor => swapLast(flatten(t, 2)); // [B, HW, C]
  const picture = (t: Tensor): Tensor => reshape(swapLast(t), x.shape);
  const normed = groupNorm(scope.at('norm'), x, groups, 1e-6);
  let h = linearProjection
    ? linear(scope.at('proj_in'), rows(normed), c)
    : rows(conv(scope.at('proj_in'), normed, c, { kernel: 1 }));
  for (let i = 0; i < depth; i++) {
    h = run((t) => transformerLayer(scope.at('transformer_blocks').at(i), t, context, heads), h);
  }
  const out = linearProjection
    ? picture(linear(scope.at('proj_out'), h, c))
    : conv(scope.at('proj_out'), picture(h), c, { kernel: 1 });
  return add(out, enter(scope, x));
}

/** `BasicTransformerBlock`: self-attention, cross-attention, feed-forward: x [B, N, C] → same. */
export function transformerLayer(scope: Scope, x: Tensor, context: Tensor, heads: number): Tensor {
  const options = { heads, names: DIFFUSION_PROJECTIONS, bias: false };
  let h = add(enter(scope, x), multiHeadAttention(scope.at('attn1'), layerNorm(scope.at('norm1'), x), options));
  h = add(h, multiHeadAttention(scope.at('attn2'), layerNorm(scope.at('norm2'), h), { ...options, context }));
  return add(h, gegluFeedForward(scope.at('ff'), layerNorm(scope.at('norm3'), h)));
}

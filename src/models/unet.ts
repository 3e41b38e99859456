/** @file Stable Diffusion's conditional U-Net, `UNet2DConditionModel` of diffusers (arXiv 2112.10752, 2307.01952). */
import { silu } from '../graph/ops/activation.js';
import { add, mul, sub } from '../graph/ops/arithmetic.js';
import { concat, reshape } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { conv } from '../nn/conv.js';
import { embeddingMlp, sinusoid } from '../nn/embedding.js';
import { groupNorm } from '../nn/norm.js';
import { leave } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import { segment } from '../nn/segment.js';
import type { SegmentOptions } from '../nn/segment.js';
import type { UNetConfig } from './config.js';
import { downBlock, midBlock, upBlock } from './unet-blocks.js';
import type { BlockInputs, BlockShape } from './unet-blocks.js';

export interface UNetInputs {
  latents: Tensor; // [B, in_channels, h, w]
  /** Training time 0 … 999, float32. */
  timestep: Tensor; // [B]
  context: Tensor; // [B, T, cross_attention_dim]
  /** SDXL: pooled text state. */
  pooled?: Tensor; // [B, P]
  /** SDXL: original height and width, crop top and left, target height and width, in pixels. */
  sizes?: Tensor; // [B, 6]
  /** LCM: the guidance scale that is distilled in. */
  guidance?: Tensor; // [B]
}

/** What the way down through the network leaves for the way up. */
interface Halfway {
  /** The middle block's activations [B, C, h′, w′]. */
  readonly h: Tensor;
  readonly skips: Tensor[];
  /** What each block made, before it was scaled down. */
  readonly blocks: Tensor[];
  readonly shared: BlockInputs;
  readonly shapes: ReturnType<typeof blockShapes>;
}

function wayDown(scope: Scope, config: UNetConfig, inputs: UNetInputs, options?: SegmentOptions): Halfway {
  const { block_out_channels: widths, norm_num_groups: groups, norm_eps: epsilon } = config;
  const shared: BlockInputs = {
    time: silu(timeEmbedding(scope, config, inputs)),
    context: inputs.context,
    groups,
    epsilon,
    linearProjection: config.use_linear_projection,
    run: segment(options),
  };
  const shapes = blockShapes(config);
  let h = conv(scope.at('conv_in'), inputs.latents, widths[0]!, { kernel: config.conv_in_kernel });
  const skips = [h];
  const blocks: Tensor[] = [];
  shapes.forEach((shape, i) => {
    const heads = config.down_block_types[i] === 'DownBlock2D' ? null : shape.heads;
    const block = downBlock(scope.at('down_blocks').at(i), h, { ...shape, heads }, shared);
    h = block.h;
    skips.push(...block.skips);
    blocks.push(block.skips[shape.layers - 1]!);
  });
  if (config.mid_block_type) h = midBlock(scope.at('mid_block'), h, shapes.at(-1)!, shared);
  return { h, skips, blocks, shared, shapes };
}

/** What the second block makes, at half of the latents' resolution: [B, C, h/2, w/2]. */
export function unetFeatures(scope: Scope, config: UNetConfig, inputs: UNetInputs): Tensor {
  const { blocks } = wayDown(scope, config, inputs);
  return leave(blocks[Math.min(1, blocks.length - 1)]!);
}

/** What the model predicts for noisy latents (noise, velocity or sample, as trained): [B, out_channels, h, w]. */
export function unet(scope: Scope, config: UNetConfig, inputs: UNetInputs, options?: SegmentOptions): Tensor {
  const { skips, shared, shapes, ...down } = wayDown(scope, config, inputs, options);
  const { norm_num_groups: groups, norm_eps: epsilon } = config;
  let { h } = down;
  shapes.toReversed().forEach((shape, i) => {
    const heads = config.up_block_types[i] === 'UpBlock2D' ? null : shape.heads;
    const resample = i < shapes.length - 1;
    h = upBlock(scope.at('up_blocks').at(i), h, skips, { ...shape, layers: shape.layers + 1, heads, resample }, shared);
  });
  const normed = silu(groupNorm(scope.at('conv_norm_out'), h, groups, epsilon));
  return leave(conv(scope.at('conv_out'), normed, config.out_channels, { kernel: config.conv_out_kernel }));
}

function blockShapes(config: UNetConfig): (BlockShape & { heads: number })[] {
  const widths = config.block_out_channels;
  const each = (value: number | number[], i: number): number => (Array.isArray(value) ? value[i]! : value);
  return widths.map((channels, i) => ({
    channels,
    layers: each(config.layers_per_block, i),
    heads: each(config.attention_head_dim, i),
    depth: each(config.transformer_layers_per_block, i),
    resample: i < widths.length - 1,
  }));
}

/** [B, 4 · first width] */
function timeEmbedding(scope: Scope, config: UNetConfig, inputs: UNetInputs): Tensor {
  const [first] = config.block_out_channels as [number];
  const width = 4 * first;
  const frequencies = { flipSinToCos: config.flip_sin_to_cos, downscaleFreqShift: config.freq_shift };
  const embedded = sinusoid(inputs.timestep, first, frequencies);
  // LCM (arXiv 2310.04378, §4.2) embeds ω = guidance scale − 1 like a time of 1000·ω.
  const condition = config.time_cond_proj_dim === null
    ? undefined
    : sinusoid(mul(sub(required(inputs, 'guidance'), 1), 1000), config.time_cond_proj_dim, { downscaleFreqShift: 1 });
  const time = embeddingMlp(scope.at('time_embedding'), embedded, width, condition);
  if (config.addition_embed_type === null) return time;
  const sizes = required(inputs, 'sizes');
  const dim = config.addition_time_embed_dim!;
  const sines = reshape(sinusoid(reshape(sizes, [-1]), dim, frequencies), [sizes.shape[0]!, -1]); // [B, 6·dim]
  return add(time, embeddingMlp(scope.at('add_embedding'), concat([required(inputs, 'pooled'), sines], 1), width));
}

function required(inputs: UNetInputs, key: 'guidance' | 'sizes' | 'pooled'): Tensor {
  const value = inputs[key];
  if (!value) throw new Error(`this U-Net needs the input "${key}"`);
  return value;
}

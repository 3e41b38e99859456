/** @file CLIP's vision transformer with the projection into the space shared with texts. */
import { add } from '../graph/ops/arithmetic.js';
import { conv2d } from '../graph/ops/conv.js';
import { concat, expand, flatten, narrow, squeeze, swapLast } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { linear } from '../nn/linear.js';
import { layerNorm } from '../nn/norm.js';
import { enter, leave } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import { clipEncoder } from './clip-encoder.js';
import type { ClipVisionConfig } from './config.js';

export interface ClipVisionStates {
  /** The embeddings and the state after each layer: num_hidden_layers + 1 × [B, 1 + patches, C]. */
  hidden: Tensor[];
  /** The class token's last state, normed [B, C]. */
  pooled: Tensor;
}

/**
 * The vision model of transformers (`CLIPVisionModel`).
 *
 * @param pixels [B, 3, S, S] with S = config.image_size, already normalised by CLIP's mean and deviation
 */
export function clipVision(scope: Scope, config: ClipVisionConfig, pixels: Tensor): ClipVisionStates {
  const model = scope.at('vision_model');
  const { hidden_size: c, patch_size: p, image_size: side, layer_norm_eps: epsilon } = config;
  if (pixels.shape[2] !== side || pixels.shape[3] !== side) {
    throw new Error(`${scope.path || 'the vision model'} takes images of ${side} × ${side}, not ${pixels}`);
  }
  const kernel = model.at('embeddings.patch_embedding').weight('weight', [c, config.num_channels, p, p]);
  const patches = swapLast(flatten(conv2d(enter(scope, pixels), kernel, undefined, { stride: p }), 2)); // [B, patches, C]
  const classToken = expand(model.at('embeddings').weight('class_embedding', [c]), [pixels.shape[0]!, 1, c]);
  const tokens = concat([classToken, patches], 1);
  const positions = model.at('embeddings.position_embedding').weight('weight', [tokens.shape[1]!, c]);
  const embedded = layerNorm(model.at('pre_layrnorm'), add(tokens, positions), epsilon);
  const hidden = clipEncoder(model.at('encoder'), config, embedded);
  const pooled = layerNorm(model.at('post_layernorm'), squeeze(narrow(hidden.at(-1)!, 1, 0, 1), 1), epsilon);
  return { hidden, pooled };
}

/** The pooled state in the space shared with texts (`CLIPVisionModelWithProjection`), not normed: [B, C] → [B, P]. */
export function visualProjection(scope: Scope, config: ClipVisionConfig, pooled: Tensor): Tensor {
  return leave(linear(scope.at('visual_projection'), pooled, config.projection_dim, { bias: false }));
}

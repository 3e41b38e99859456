/** @file The transformer that CLIP's text and vision models share (arXiv 2103.00020). */
import { gelu, quickGelu } from '../graph/ops/activation.js';
import { add } from '../graph/ops/arithmetic.js';
import type { Tensor } from '../graph/tensor.js';
import { CLIP_PROJECTIONS, multiHeadAttention } from '../nn/attention.js';
import { clipFeedForward } from '../nn/feed-forward.js';
import { layerNorm } from '../nn/norm.js';
import { enter } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';

const ACTIVATIONS = { quick_gelu: quickGelu, gelu };

export interface ClipEncoderConfig {
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly intermediate_size: number;
  readonly hidden_act: keyof typeof ACTIVATIONS;
  readonly layer_norm_eps: number;
}

/**
 * @param x embeddings [B, N, C]
 * @param mask added to the attention scores, float32
 * @returns the embeddings and the state after each layer, num_hidden_layers + 1 tensors [B, N, C]
 */
export function clipEncoder(scope: Scope, config: ClipEncoderConfig, x: Tensor, mask?: Tensor): Tensor[] {
  const { num_attention_heads: heads, intermediate_size: width, layer_norm_eps: epsilon } = config;
  const states = [enter(scope, x)];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = scope.at('layers').at(i);
    let h = states[i]!;
    const attended = multiHeadAttention(layer.at('self_attn'), layerNorm(layer.at('layer_norm1'), h, epsilon), {
      heads,
      names: CLIP_PROJECTIONS,
      ...(mask && { mask }),
    });
    h = add(h, attended);
    const normed = layerNorm(layer.at('layer_norm2'), h, epsilon);
    states.push(add(h, clipFeedForward(layer.at('mlp'), normed, width, ACTIVATIONS[config.hidden_act])));
  }
  return states;
}

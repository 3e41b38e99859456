/** @file Vision transformers as timm and DINO build them, which BLIP and DreamSim take over. */
import { add } from '../graph/ops/arithmetic.js';
import { conv2d } from '../graph/ops/conv.js';
import { concat, expand, flatten, swapLast } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { layerNorm } from '../nn/norm.js';
import type { Scope } from '../nn/scope.js';
import { clipEncoder } from './clip-encoder.js';
import type { ClipEncoderConfig } from './clip-encoder.js';

export interface TimmVisionConfig {
  readonly image_size: number;
  readonly patch_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
}

export interface TimmVisionVariant {
  /** Default: 1e-6. */
  readonly epsilon?: number;
  /** Default: gelu. */
  readonly activation?: ClipEncoderConfig['hidden_act'];
  /** A norm before the layers, as CLIP has. */
  readonly preNorm?: boolean;
}

/** Of the norms in timm's vision transformers. */
export const TIMM_EPSILON = 1e-6;

/**
 * The tokens after the last layer, not normed: [B, 1 + patches, C], the class token first. The layers are CLIP's; unlike
 * CLIP's model it has a bias on the patches.
 *
 * @param pixels [B, 3, S, S] with S = config.image_size, normalised as the model was trained
 */
export function timmVision(scope: Scope, config: TimmVisionConfig, pixels: Tensor, variant: TimmVisionVariant = {}): Tensor {
  const { epsilon = TIMM_EPSILON, activation = 'gelu', preNorm = false } = variant;
  const { hidden_size: c, patch_size: p } = config;
  const patch = scope.at('patch_embedding');
  const planes = conv2d(pixels, patch.weight('weight', [c, 3, p, p]), patch.weight('bias', [c]), { stride: p });
  const classToken = expand(scope.weight('class_embedding', [1, 1, c]), [pixels.shape[0]!, 1, c]);
  const tokens = concat([classToken, swapLast(flatten(planes, 2))], 1);
  const placed = add(tokens, scope.weight('position_embedding', [1, tokens.shape[1]!, c]));
  const embedded = preNorm ? layerNorm(scope.at('pre_layernorm'), placed, epsilon) : placed;
  const layers = { ...config, hidden_act: activation, layer_norm_eps: epsilon };
  return clipEncoder(scope.at('encoder'), layers, embedded).at(-1)!;
}

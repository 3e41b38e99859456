/** @file BLIP's image encoder (Li et al., arXiv 2201.12086): a vision transformer of which all states are used. */
import { add } from '../graph/ops/arithmetic.js';
import { conv2d } from '../graph/ops/conv.js';
import { concat, expand, flatten, swapLast } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { layerNorm } from '../nn/norm.js';
import type { Scope } from '../nn/scope.js';
import { clipEncoder } from './clip-encoder.js';

export interface BlipVisionConfig {
  readonly image_size: number;
  readonly patch_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
}

/** timm's vision transformers, from which BLIP's comes (models/vit.py of github.com/salesforce/BLIP). */
const EPSILON = 1e-6;

/**
 * The layers are CLIP's; unlike CLIP's model it has a bias on the patches, no norm before the layers, and one on all
 * states after them.
 *
 * @param pixels [B, 3, S, S] with S = config.image_size, normalised by CLIP's mean and deviation
 * @returns [B, 1 + patches, C]
 */
export function blipVision(scope: Scope, config: BlipVisionConfig, pixels: Tensor): Tensor {
  const { hidden_size: c, patch_size: p } = config;
  const patch = scope.at('patch_embedding');
  const planes = conv2d(pixels, patch.weight('weight', [c, 3, p, p]), patch.weight('bias', [c]), { stride: p });
  const classToken = expand(scope.weight('class_embedding', [1, 1, c]), [pixels.shape[0]!, 1, c]);
  const tokens = concat([classToken, swapLast(flatten(planes, 2))], 1);
  const embedded = add(tokens, scope.weight('position_embedding', [1, tokens.shape[1]!, c]));
  const layers = { ...config, hidden_act: 'gelu', layer_norm_eps: EPSILON } as const;
  return layerNorm(scope.at('post_layernorm'), clipEncoder(scope.at('encoder'), layers, embedded).at(-1)!, EPSILON);
}

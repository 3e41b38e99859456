/** @file CLIP as a whole, `CLIPModel` of transformers: texts and images in one space (arXiv 2103.00020). */
import { div, exp, mul, sub } from '../graph/ops/arithmetic.js';
import { squeeze, swapLast } from '../graph/ops/layout.js';
import { matmul } from '../graph/ops/matmul.js';
import { normalize } from '../graph/ops/norm.js';
import { literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import type { Scope } from '../nn/scope.js';
import { clipText, textProjection } from './clip-text.js';
import { clipVision, visualProjection } from './clip-vision.js';
import type { ClipConfig, ClipVisionConfig } from './config.js';

/** Token ids [B, N] (int64) → unit vectors [B, P]. */
export function textFeatures(scope: Scope, config: ClipConfig, ids: Tensor): Tensor {
  const text = { ...config.text_config, projection_dim: config.projection_dim };
  return normalize(textProjection(scope, text, clipText(scope, text, ids).pooled));
}

/** OpenAI's pixel statistics, per channel in [0, 1]. */
const PIXEL_MEAN = [0.48145466, 0.4578275, 0.40821073];
const PIXEL_DEVIATION = [0.26862954, 0.26130258, 0.27577711];

/** Images [B, 3, S, S] in [0, 1] → pixels as CLIP's vision models take them. */
export function normalizePixels(images: Tensor): Tensor {
  return div(sub(images, literal(PIXEL_MEAN, [3, 1, 1])), literal(PIXEL_DEVIATION, [3, 1, 1]));
}

/** Pixels [B, 3, S, S], normalised by CLIP's mean and deviation → unit vectors [B, P]. */
export function imageFeatures(scope: Scope, config: ClipConfig, pixels: Tensor): Tensor {
  const vision = { ...config.vision_config, projection_dim: config.projection_dim };
  return normalize(visualProjection(scope, vision, clipVision(scope, vision, pixels).pooled));
}

/** Images [B, 3, S, S] in [0, 1] → a number each, of an image encoder with one output: [B]. */
export function visionScore(scope: Scope, config: ClipVisionConfig, images: Tensor): Tensor {
  const { pooled } = clipVision(scope, config, normalizePixels(images));
  return squeeze(visualProjection(scope, config, pooled), 1);
}

/** Cosines of all pairs over the learnt temperature: images [B, P] and texts [K, P] → [B, K]. */
export function clipLogits(scope: Scope, images: Tensor, texts: Tensor): Tensor {
  return mul(matmul(images, swapLast(texts)), exp(scope.weight('logit_scale', [])));
}

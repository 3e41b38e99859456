/** @file BLIP's image encoder (Li et al., arXiv 2201.12086): a vision transformer of which all states are used. */
import type { Tensor } from '../graph/tensor.js';
import { layerNorm } from '../nn/norm.js';
import type { Scope } from '../nn/scope.js';
import { TIMM_EPSILON, timmVision } from './timm-vision.js';
import type { TimmVisionConfig } from './timm-vision.js';

/**
 * timm's vision transformer (models/vit.py of github.com/salesforce/BLIP) with a norm on all states after its layers.
 *
 * @param pixels [B, 3, S, S] with S = config.image_size, normalised by CLIP's mean and deviation
 * @returns [B, 1 + patches, C]
 */
export const blipVision = (scope: Scope, config: TimmVisionConfig, pixels: Tensor): Tensor =>
  layerNorm(scope.at('post_layernorm'), timmVision(scope, config, pixels), TIMM_EPSILON);

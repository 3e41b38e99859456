/** @file DINO's vision transformer (Caron et al., arXiv 2104.14294) from a file of its authors or of transformers. */
import { renamedSource } from '../formats/names/renamed-source.js';
import { timmVisionFrom, vitModelFrom } from '../formats/names/timm-vision.js';
import { openWeights } from '../formats/open-weights.js';
import type { HostTensor } from '../graph/dtype.js';
import { narrow, squeeze } from '../graph/ops/layout.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { layerNorm } from '../nn/norm.js';
import { weightShapes } from '../nn/scope.js';
import type { Scope } from '../nn/scope.js';
import { timmConfig } from './dreamsim-files.js';
import { readExact } from './read-exact.js';
import { TIMM_EPSILON, timmVision } from '../models/timm-vision.js';

export interface Dino {
  readonly side: number;
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** Pixels [B, 3, side, side], normalised as ImageNet's → the class token, normed [B, C]. */
  trace(scope: Scope, pixels: Tensor): Tensor;
}

/** @throws FormatError naming the tensor that is missing or misshaped */
export async function readDino(path: string): Promise<Dino> {
  const file = await openWeights(path);
  await using _ = deferred(() => file.close());
  const source = renamedSource(file, file.tensors.has('cls_token') ? (key) => timmVisionFrom(key) : vitModelFrom);
  const config = timmConfig(source);
  const trace = (scope: Scope, x: Tensor): Tensor =>
    layerNorm(scope.at('post_layernorm'), squeeze(narrow(timmVision(scope, config, x), 1, 0, 1), 1), TIMM_EPSILON);
  const shapes = weightShapes((scope) => trace(scope, input('x', [1, 3, config.image_size, config.image_size])));
  return { side: config.image_size, trace, weights: await readExact(source, shapes, 'Give a DINO ViT: dino_vitbase16_pretrain.pth, or the weights of facebook/dino-vitb16.') };
}

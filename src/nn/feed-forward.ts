/** @file The position-wise networks of transformers. */
import { gelu } from '../graph/ops/activation.js';
import { mul } from '../graph/ops/arithmetic.js';
import { split } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { linear } from './linear.js';
import type { Scope } from './scope.js';

/** GEGLU of a diffusion transformer (Shazeer, arXiv 2002.05202): x [B, N, C] → h · gelu(gate), 4·C wide → [B, N, C]. */
export function gegluFeedForward(scope: Scope, x: Tensor): Tensor {
  const c = x.shape.at(-1)!;
  const wide = linear(scope.at('net.0.proj'), x, 8 * c);
  const [value, gate] = split(wide, [4 * c, 4 * c], -1) as [Tensor, Tensor];
  return linear(scope.at('net.2'), mul(value, gelu(gate)), c);
}

/** CLIP's two-layer network: x [B, N, C] → width → [B, N, C]. */
export function clipFeedForward(scope: Scope, x: Tensor, width: number, activation: (x: Tensor) => Tensor): Tensor {
  return linear(scope.at('fc2'), activation(linear(scope.at('fc1'), x, width)), x.shape.at(-1)!);
}

/** @file What a network is computed in: the policy that scopes carry and layers follow. */
import type { StoredType } from '../graph/dtype.js';
import { cast, div, mul } from '../graph/ops/arithmetic.js';
import { customVjp, input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';

/** What layers can compute in. */
export type ComputeType = 'float32' | 'float16';

export interface Precision {
  /** What frozen weights lie in memory as. Loaders keep to it; the runtime widens what is stored otherwise than computed. */
  readonly storage: StoredType;
  /**
   * What layers compute in. Whatever it is, statistics of norms, softmax, adapters (LoRA) and everything outside of the
   * networks (losses, transition densities, rewards, the optimiser) are float32.
   */
  readonly compute: ComputeType;
  /** Parts and layers that compute in float32 all the same: whole segments of their paths. */
  readonly islands: readonly string[];
}

export const FLOAT32: Precision = { storage: 'float32', compute: 'float32', islands: [] };

/** Precisions by what a user calls them. */
export const PRECISIONS = {
  float32: FLOAT32,
  'float16-storage': { ...FLOAT32, storage: 'float16' },
  'bfloat16-storage': { ...FLOAT32, storage: 'bfloat16' },
  /** Times are embedded in float32: they are a row or two, and everything depends on them. */
  mixed: { storage: 'float16', compute: 'float16', islands: ['time_embedding', 'add_embedding'] },
} as const satisfies Record<string, Precision>;

export type PrecisionName = keyof typeof PRECISIONS;
export const PRECISION_NAMES = Object.keys(PRECISIONS) as [PrecisionName, ...PrecisionName[]];

/** What the layer at `path` computes in. */
export function computeAt({ compute, islands }: Precision, path: string): ComputeType {
  return path.split('.').some((segment) => islands.includes(segment)) ? 'float32' : compute;
}

/** Input [] of graphs with gradients through float16: what those are multiplied by there (src/training/loss-scale.ts). */
export const LOSS_SCALE = input('loss scale', []);

/**
 * x in the type of the region that it goes into. Small gradients vanish in float16: there they are multiplied by the loss
 * scale, and divided by it where they come out, so that nothing outside knows of it.
 */
export function over(x: Tensor, to: ComputeType): Tensor {
  if (x.dtype === to) return x;
  const back = (g: Tensor): Tensor =>
    (to === 'float16' ? div(cast(g, 'float32'), LOSS_SCALE) : cast(mul(g, LOSS_SCALE), 'float16'));
  return customVjp([cast(x, to)], [x], [back])[0]!;
}

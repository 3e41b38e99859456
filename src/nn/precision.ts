/** @file What a network is computed in: the policy that scopes carry and layers follow. */
import type { StoredType } from '../graph/dtype.js';

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

/** What the layer at `path` computes in. */
export function computeAt({ compute, islands }: Precision, path: string): ComputeType {
  return path.split('.').some((segment) => islands.includes(segment)) ? 'float32' : compute;
}

/**
 * Half precision on devices that compute in it. Times are embedded in float32: they are a row or two, and everything
 * depends on them.
 */
export const MIXED: Precision = { storage: 'float16', compute: 'float16', islands: ['time_embedding', 'add_embedding'] };

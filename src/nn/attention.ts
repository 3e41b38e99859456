/** @file Multi-head attention, self and cross (Vaswani et al., arXiv 1706.03762). */
import { attention } from '../graph/ops/attention.js';
import { reshape, transpose } from '../graph/ops/layout.js';
import type { Tensor } from '../graph/tensor.js';
import { linear } from './linear.js';
import type { Scope } from './scope.js';

/** What the four projections are called. */
export interface ProjectionNames {
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly out: string;
}

/** The names in U-Nets and VAEs. */
export const DIFFUSION_PROJECTIONS: ProjectionNames = { q: 'to_q', k: 'to_k', v: 'to_v', out: 'to_out.0' };
/** The names in CLIP. */
export const CLIP_PROJECTIONS: ProjectionNames = { q: 'q_proj', k: 'k_proj', v: 'v_proj', out: 'out_proj' };

export interface MultiHeadOptions {
  heads: number;
  names: ProjectionNames;
  /** Where keys and values come from [B, M, C']; x itself by default. */
  context?: Tensor;
  /** Whether q, k and v have a bias; the output projection always has one. */
  bias?: boolean;
  /** Added to the scores, broadcast to [B, heads, N, M]. */
  mask?: Tensor;
}

/** x [B, N, C] → [B, N, C]. */
export function multiHeadAttention(scope: Scope, x: Tensor, options: MultiHeadOptions): Tensor {
  const { heads, names, context = x, bias = true, mask } = options;
  const [b, n, c] = x.shape as [number, number, number];
  const project = (name: string, from: Tensor): Tensor => {
    const rows = linear(scope.at(name), from, c, { bias });
    return transpose(reshape(rows, [b, from.shape[1]!, heads, c / heads]), [0, 2, 1, 3]);
  };
  const [q, k, v] = [project(names.q, x), project(names.k, context), project(names.v, context)];
  const mixed = attention(q, k, v, mask ? { mask } : {});
  return linear(scope.at(names.out), reshape(transpose(mixed, [0, 2, 1, 3]), [b, n, c]), c);
}

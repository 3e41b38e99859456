/** @file Scaled dot-product attention that never holds more than a bounded block of scores. */
import { describeShape, traceError } from '../errors.js';
import { checkpoint } from '../grad.js';
import type { Tensor } from '../tensor.js';
import { add, cast, mul } from './arithmetic.js';
import { softmax } from './activation.js';
import { fusedAttention } from './fused-attention.js';
import { concat, expand, narrow, reshape, swapLast } from './layout.js';
import { matmul } from './matmul.js';

export interface AttentionOptions {
  /** Added to the scores before softmax, broadcast to [B, H, N, M], float32; −∞ (or very negative) hides a key. */
  mask?: Tensor;
  /** 1/√D by default. */
  scale?: number;
  /** Largest block of scores kept at once, forward and backward. */
  blockBytes?: number;
}

/** With a mask, longer sequences than this many bytes of scores are worked off in blocks that are recomputed backward. */
const MASKED_BLOCK_BYTES = 64 * 2 ** 20;

/**
 * softmax(q·kᵀ·scale + mask)·v; the softmax is float32 whatever q, k and v are.
 *
 * @param q [B, H, N, D]
 * @param k [B, H, M, D]
 * @param v [B, H, M, E]
 * @returns [B, H, N, E]
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const [b, h, n, d] = q.shape as [number, number, number, number];
  const m = k.shape[2]!;
  if (k.rank !== 4 || k.shape[3] !== d || v.shape[2] !== m || k.shape[0] !== b || k.shape[1] !== h) {
    traceError('attention', `q ${describeShape(q.shape)}, k ${describeShape(k.shape)}, v ${describeShape(v.shape)} do not fit`);
  }
  const scale = options.scale ?? 1 / Math.sqrt(d);
  const { mask, blockBytes = MASKED_BLOCK_BYTES } = options;
  if (!mask) return fusedAttention(q, k, v, scale, options.blockBytes);
  const dense = (qs: Tensor, ks: Tensor, vs: Tensor, bias?: Tensor): Tensor => {
    // Scaling q is cheaper than scaling the scores.
    const scores = cast(matmul(mul(qs, scale), swapLast(ks)), 'float32');
    return matmul(cast(softmax(bias ? add(scores, bias) : scores), vs.dtype), vs);
  };
  if (b * h * n * m * 4 <= blockBytes) return dense(q, k, v, mask);

  // One (image, head) after the other, and queries in blocks where even one head is too large.
  const flat = (t: Tensor): Tensor => reshape(t, [b * h, t.shape[2]!, t.shape[3]!]);
  const [qs, ks, vs] = [flat(q), flat(k), flat(v)];
  const heads = Math.max(1, Math.min(b * h, Math.floor(blockBytes / (n * m * 4))));
  const queries = Math.max(1, Math.min(n, Math.floor(blockBytes / (heads * m * 4))));
  const parts: Tensor[] = [];
  for (let i = 0; i < b * h; i += heads) {
    const until = Math.min(i + heads, b * h);
    const rows: Tensor[] = [];
    for (let j = 0; j < n; j += queries) {
      const part = narrow(narrow(qs, 0, i, until), 1, j, Math.min(j + queries, n));
      const bias = mask && maskBlock(mask, [b, h, n, m], i, until, j, part.shape[1]!);
      const block = (x: Tensor, y: Tensor, z: Tensor): Tensor[] => [dense(x, y, z, bias)];
      rows.push(checkpoint(block, [part, narrow(ks, 0, i, until), narrow(vs, 0, i, until)])[0]!);
    }
    parts.push(concat(rows, 1));
  }
  return reshape(concat(parts, 0), [b, h, n, v.shape[3]!]);
}

/** The part of a broadcast mask that belongs to heads [from, until) of all images and `count` queries from `start`. */
function maskBlock(
  mask: Tensor,
  [b, h, n, m]: readonly [number, number, number, number],
  from: number,
  until: number,
  start: number,
  count: number,
): Tensor {
  const wide = reshape(mask, [...Array.from({ length: 4 - mask.rank }, () => 1), ...mask.shape]);
  const rows = wide.shape[2] === n && n > 1 ? narrow(wide, 2, start, start + count) : wide;
  if (wide.shape[0] === 1 && wide.shape[1] === 1) return reshape(rows, rows.shape.slice(1));
  const repeated = expand(rows, [b, h, rows.shape[2]!, m]);
  return narrow(reshape(repeated, [b * h, rows.shape[2]!, m]), 0, from, until);
}

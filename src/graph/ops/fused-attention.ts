/**
 * @file Attention without a matrix of scores: one fused operator forward, and a backward pass that makes the scores again
 * block by block (Dao et al., FlashAttention, arXiv 2205.14135).
 */
import { apply, float, full } from '../tensor.js';
import type { Tensor } from '../tensor.js';
import { softmax } from './activation.js';
import { add, cast, mul, neg, sub } from './arithmetic.js';
import { concat, narrow, reshape, slice, swapLast, transpose } from './layout.js';
import { matmul } from './matmul.js';
import { sum } from './reduce.js';

/** Heads and their number of images: B, H. */
interface Heads {
  readonly batch: number;
  readonly heads: number;
}

/**
 * Scores worked on at once in the backward pass. They are passed over five times, so blocks should stay in the caches near
 * the cores; and the fewer blocks, the fewer operators. Chosen, not measured against other sizes.
 */
const BLOCK_BYTES = 8 * 2 ** 20;

/** [B, H, N, D] → [B, N, H·D], undoing the transpose that made it where there is one. */
function joined(x: Tensor): Tensor {
  const [b, h, n, d] = x.shape as [number, number, number, number];
  const { op, attributes, inputs } = x.node;
  const split = op === 'Transpose' && String(attributes['perm']) === '0,2,1,3';
  return reshape(split ? inputs[0]! : transpose(x, [0, 2, 1, 3]), [b, n, h * d]);
}

/** [B, N, H·D] → [B·H, N, D]. */
function apart(x: Tensor, { batch, heads }: Heads): Tensor {
  const [, n, width] = x.shape as [number, number, number];
  const each = transpose(reshape(x, [batch, n, heads, width / heads]), [0, 2, 1, 3]);
  return reshape(each, [batch * heads, n, width / heads]);
}

/** [B·H, N, D] → [B, N, H·D]. */
function together(x: Tensor, { batch, heads }: Heads): Tensor {
  const [, n, d] = x.shape as [number, number, number];
  return reshape(transpose(reshape(x, [batch, heads, n, d]), [0, 2, 1, 3]), [batch, n, heads * d]);
}

/** One element of each tensor, times zero: adding it makes what follows wait for them. */
function after(parts: readonly Tensor[]): Tensor {
  const firsts = parts.map((t) => reshape(slice(t, t.shape.map(() => 0), t.shape.map(() => 1)), []));
  return mul(firsts.reduce((a, b) => add(a, b)), 0);
}

interface Gradients {
  q: Tensor;
  k: Tensor;
  v: Tensor;
}

/**
 * Gradients of y = softmax(q·kᵀ)·v (q already scaled), with P = softmax(q·kᵀ) made again:
 * ∂v = Pᵀ·g, ∂S = P ∘ (g·vᵀ − rowsum(g ∘ y)), ∂q = ∂S·k, ∂k = ∂Sᵀ·q.
 *
 * The row sums are subtracted within the product g·vᵀ, by one more column; in half precision after it, for they are too
 * near to it, and P and ∂S are float32 until they are multiplied. ONNX Runtime would compute all blocks' P before
 * anything else, as it orders operators by the outputs they lead to; each block therefore waits for the block before.
 *
 * @param q [B·H, N, D]; k [B·H, M, D]; v [B·H, M, E]; y and g [B·H, N, E]
 */
function backward(q: Tensor, k: Tensor, v: Tensor, y: Tensor, g: Tensor, blockBytes: number): Gradients {
  const [pairs, n] = q.shape as [number, number];
  const m = k.shape[1]!;
  const { dtype } = q;
  const exact = dtype === 'float32';
  const wide = (t: Tensor): Tensor => cast(t, 'float32');
  const rowSums = sum(mul(wide(g), wide(y)), { axes: [2], keepDims: true });
  const g1 = exact ? concat([g, neg(rowSums)], 2) : g; // [B·H, N, E + 1], or E
  const v1 = exact ? concat([swapLast(v), full([pairs, 1, m], 1)], 1) : swapLast(v); // [B·H, E + 1, M], or E
  const [kT, qT, gT] = [swapLast(k), swapLast(q), swapLast(g)];
  const heads = Math.max(1, Math.min(pairs, Math.floor(blockBytes / (n * m * 4))));
  const rows = Math.max(1, Math.min(n, Math.floor(blockBytes / (heads * m * 4))));
  const parts: { dq: Tensor; dk: Tensor; dv: Tensor }[] = [];
  let last: Tensor[] = [];
  for (let h = 0; h < pairs; h += heads) {
    const head = (t: Tensor): Tensor => narrow(t, 0, h, Math.min(h + heads, pairs));
    const [kh, kTh, vh] = [head(k), head(kT), head(v1)];
    const dq: Tensor[] = [];
    let [dk, dv]: (Tensor | null)[] = [null, null];
    for (let i = 0; i < n; i += rows) {
      const block = (t: Tensor, axis: number): Tensor => narrow(head(t), axis, i, Math.min(i + rows, n));
      const queries = block(q, 1);
      const wideP = softmax(wide(matmul(last.length > 0 ? add(queries, after(last)) : queries, kTh))); // [h, rows, M]
      const dp = wide(matmul(block(g1, 1), vh));
      const ds = cast(mul(wideP, exact ? dp : sub(dp, block(rowSums, 1))), dtype);
      const p = cast(wideP, dtype);
      dq.push(matmul(ds, kh));
      const [dkBlock, dvBlock] = [matmul(block(qT, 2), ds), matmul(block(gT, 2), p)]; // [h, D or E, M]
      dk = dk ? add(dk, dkBlock) : dkBlock;
      dv = dv ? add(dv, dvBlock) : dvBlock;
      last = [dq.at(-1)!, dk, dv];
    }
    parts.push({ dq: concat(dq, 1), dk: dk!, dv: dv! });
  }
  return {
    q: concat(parts.map((p) => p.dq), 0),
    k: swapLast(concat(parts.map((p) => p.dk), 0)),
    v: swapLast(concat(parts.map((p) => p.dv), 0)),
  };
}

/**
 * softmax(q·kᵀ·scale)·v.
 *
 * @param q [B, H, N, D]
 * @param k [B, H, M, D]
 * @param v [B, H, M, E]
 * @returns [B, H, N, E]
 */
export function fusedAttention(q: Tensor, k: Tensor, v: Tensor, scale: number, blockBytes = BLOCK_BYTES): Tensor {
  const [batch, heads, n] = q.shape as [number, number, number];
  const [q3, k3, v3] = [joined(q), joined(k), joined(v)];
  const of = { batch, heads };
  const known = new Map<Tensor, Gradients>();
  const gradients = (g: Tensor): Gradients => {
    const [qs, ks, vs, ys, gs] = [mul(q3, scale), k3, v3, y, g].map((t) => apart(t, of)) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const found = known.get(g) ?? backward(qs, ks, vs, ys, gs, blockBytes);
    known.set(g, found);
    return found;
  };
  const y: Tensor = apply(
    {
      op: 'MultiHeadAttention',
      domain: 'com.microsoft',
      inputs: [q3, k3, v3],
      attributes: { num_heads: heads, scale: float(scale) },
      vjps: [
        (g) => mul(together(gradients(g).q, of), scale),
        (g) => together(gradients(g).k, of),
        (g) => together(gradients(g).v, of),
      ],
    },
    [batch, n, v3.shape[2]!],
    q.dtype,
  );
  return transpose(reshape(y, [batch, n, heads, v.shape[3]!]), [0, 2, 1, 3]);
}

/**
 * What the fused operator computes, from plain operators and with no more than `blockBytes` of scores at a time.
 *
 * @param q [B, N, H·D]
 * @param k [B, M, H·D]
 * @param v [B, M, H·E]
 * @returns [B, N, H·E]
 */
export function unfusedAttention(q: Tensor, k: Tensor, v: Tensor, heads: number, scale: number, blockBytes: number): Tensor {
  const of = { batch: q.shape[0]!, heads };
  const [qs, ks, vs] = [mul(q, scale), k, v].map((t) => apart(t, of)) as [Tensor, Tensor, Tensor];
  const [pairs, n] = qs.shape as [number, number];
  const rowBytes = ks.shape[1]! * 4;
  const each = Math.max(1, Math.min(pairs, Math.floor(blockBytes / (n * rowBytes))));
  const rows = Math.max(1, Math.min(n, Math.floor(blockBytes / (each * rowBytes))));
  const parts: Tensor[] = [];
  for (let h = 0; h < pairs; h += each) {
    const [qh, kh, vh] = [qs, ks, vs].map((t) => narrow(t, 0, h, Math.min(h + each, pairs))) as [Tensor, Tensor, Tensor];
    const blocks: Tensor[] = [];
    for (let i = 0; i < n; i += rows) {
      const scores = cast(matmul(narrow(qh, 1, i, Math.min(i + rows, n)), swapLast(kh)), 'float32');
      blocks.push(matmul(cast(softmax(scores), vh.dtype), vh));
    }
    parts.push(concat(blocks, 1));
  }
  return together(concat(parts, 0), of);
}

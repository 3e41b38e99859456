/** @file Matrix products: batched `matmul`, and `linear` on row-major weights without transposing anything. */
import { describeShape, traceError } from '../errors.js';
import { apply } from '../tensor.js';
import type { Tensor, Vjp } from '../tensor.js';
import { reshape, swapLast } from './layout.js';
import { broadcastShapes, sumTo } from './shape.js';

/** Batched matrix product with broadcast batch axes: [..., M, K] × [..., K, N] → [..., M, N]. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  if (a.rank < 2 || b.rank < 2 || a.shape.at(-1) !== b.shape.at(-2) || a.dtype !== b.dtype) {
    traceError('MatMul', `cannot multiply ${a} by ${b}`);
  }
  if (a.rank > 2 && b.rank === 2) {
    // One product; and the gradient by b is one product too, not one for each batch that is then summed.
    return reshape(matmul(reshape(a, [-1, a.shape.at(-1)!]), b), a.shape.with(-1, b.shape[1]!));
  }
  const batch = broadcastShapes('MatMul', a.shape.slice(0, -2), b.shape.slice(0, -2));
  return apply(
    {
      op: 'MatMul',
      inputs: [a, b],
      vjps: [(g) => sumTo(matmul(g, swapLast(b)), a.shape), (g) => sumTo(matmul(swapLast(a), g), b.shape)],
    },
    [...batch, a.shape.at(-2)!, b.shape.at(-1)!],
    a.dtype,
  );
}

/**
 * Matrix product of matrices, either of them transposed on the fly, plus an optional row: op(A)·op(B) + c.
 *
 * @param a [M, K], or [K, M] with `transposeA`
 * @param b [K, N], or [N, K] with `transposeB`
 * @param c [N]
 */
export function gemm(a: Tensor, b: Tensor, transposeA = false, transposeB = false, c?: Tensor): Tensor {
  const [m, k] = transposeA ? [a.shape[1]!, a.shape[0]!] : [a.shape[0]!, a.shape[1]!];
  const [k2, n] = transposeB ? [b.shape[1]!, b.shape[0]!] : [b.shape[0]!, b.shape[1]!];
  const fits = a.rank === 2 && b.rank === 2 && k === k2 && a.dtype === b.dtype;
  if (!fits) traceError('Gemm', `cannot multiply ${a} by ${b}`);
  if (c && (c.rank !== 1 || c.shape[0] !== n)) traceError('Gemm', `bias ${c} does not fit ${n} columns`);
  const byA: Vjp = (g) => (transposeA ? gemm(b, g, transposeB, true) : gemm(g, b, false, !transposeB));
  const byB: Vjp = (g) => (transposeB ? gemm(g, a, true, transposeA) : gemm(a, g, !transposeA, false));
  return apply(
    {
      op: 'Gemm',
      inputs: c ? [a, b, c] : [a, b],
      attributes: { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 },
      vjps: [byA, byB, (g) => sumTo(g, c!.shape)],
    },
    [m, n],
    a.dtype,
  );
}

/**
 * y = x·Wᵀ + b, as PyTorch stores weights.
 *
 * @param x [..., in]
 * @param w [out, in]
 * @param b [out]
 */
export function linear(x: Tensor, w: Tensor, b?: Tensor): Tensor {
  if (w.rank !== 2 || x.shape.at(-1) !== w.shape[1]) {
    traceError('linear', `weight ${describeShape(w.shape)} does not fit input ${describeShape(x.shape)}`);
  }
  const rows = reshape(x, [-1, w.shape[1]!]);
  return reshape(gemm(rows, w, false, true, b), [...x.shape.slice(0, -1), w.shape[0]!]);
}

/** @file Linear algebra on symmetric matrices in float64: eigenvalues, and a factor of a positive semidefinite one. */

/** Row-major n × n. */
export type SquareMatrix = Float64Array;

/**
 * Eigenvalues of a symmetric matrix, ascending: Householder's reduction to tridiagonal form, then QL iterations with
 * implicit shifts (Golub & Van Loan, Matrix Computations, §8.3). `a` is overwritten.
 */
export function symmetricEigenvalues(a: SquareMatrix, n: number): Float64Array {
  const { diagonal, offDiagonal } = tridiagonalize(a, n);
  return tridiagonalEigenvalues(diagonal, offDiagonal).sort();
}

/** Householder reflections H = 1 − β v vᵀ from both sides, column by column: A ← A − v wᵀ − w vᵀ. */
function tridiagonalize(a: SquareMatrix, n: number): { diagonal: Float64Array; offDiagonal: Float64Array } {
  const offDiagonal = new Float64Array(n);
  const v = new Float64Array(n);
  const w = new Float64Array(n);
  for (let k = 0; k < n - 2; k++) {
    let norm2 = 0;
    for (let i = k + 1; i < n; i++) norm2 += a[i * n + k]! ** 2;
    const head = a[(k + 1) * n + k]!;
    const alpha = head > 0 ? -Math.sqrt(norm2) : Math.sqrt(norm2);
    offDiagonal[k] = alpha;
    const vv = 2 * (norm2 - alpha * head); // ‖v‖²
    if (vv === 0) continue;
    for (let i = k + 1; i < n; i++) v[i] = a[i * n + k]!;
    v[k + 1]! -= alpha;
    // p = β A v, w = p − (β/2)(pᵀv) v
    const beta = 2 / vv;
    let pv = 0;
    for (let i = k + 1; i < n; i++) {
      let p = 0;
      for (let j = k + 1; j < n; j++) p += a[i * n + j]! * v[j]!;
      w[i] = beta * p;
      pv += w[i]! * v[i]!;
    }
    for (let i = k + 1; i < n; i++) w[i]! -= 0.5 * beta * pv * v[i]!;
    for (let i = k + 1; i < n; i++) {
      for (let j = k + 1; j < n; j++) a[i * n + j]! -= v[i]! * w[j]! + w[i]! * v[j]!;
    }
  }
  if (n > 1) offDiagonal[n - 2] = a[(n - 1) * n + n - 2]!;
  return { diagonal: Float64Array.from({ length: n }, (_, i) => a[i * n + i]!), offDiagonal };
}

/** Enough for any matrix; three or four iterations a value are usual. */
const MAX_ITERATIONS = 60;

/** QL with implicit Wilkinson shifts. `d` is the diagonal, `e[i]` the entry between i and i + 1. Both are lost. */
function tridiagonalEigenvalues(d: Float64Array, e: Float64Array): Float64Array {
  const n = d.length;
  const negligible = (i: number): boolean =>
    Math.abs(e[i]!) <= Number.EPSILON * (Math.abs(d[i]!) + Math.abs(d[i + 1]!));
  for (let low = 0; low < n; low++) {
    for (let iteration = 0; ; iteration++) {
      let high = low;
      while (high < n - 1 && !negligible(high)) high++;
      if (high === low) break;
      if (iteration === MAX_ITERATIONS) throw new Error('the eigenvalues do not converge; is every feature finite?');
      // Shift: the eigenvalue of the leading 2 × 2 block that is nearer to its corner.
      const g = (d[low + 1]! - d[low]!) / (2 * e[low]!);
      let x = d[high]! - d[low]! + e[low]! / (g + Math.sign(g || 1) * Math.hypot(g, 1));
      let [s, c, p] = [1, 1, 0];
      let i = high - 1;
      for (; i >= low; i--) {
        // A Givens rotation chases the entry that the shift has put off the band.
        const f = s * e[i]!;
        const b = c * e[i]!;
        const r = Math.hypot(f, x);
        e[i + 1] = r;
        if (r === 0) break;
        s = f / r;
        c = x / r;
        const y = d[i + 1]! - p;
        const t = (d[i]! - y) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = y + p;
        x = c * t - b;
      }
      if (i >= low) {
        // The matrix fell apart early: try again on the smaller part.
        d[i + 1]! -= p;
        e[high] = 0;
        continue;
      }
      d[low]! -= p;
      e[low] = x;
      e[high] = 0;
    }
  }
  return d;
}

/**
 * A factor L with A = L·Lᵀ of a positive semidefinite matrix, by Cholesky's method with diagonal pivoting, which stops
 * at the numerical rank r. Returned as its columns: rows of an r × n matrix.
 */
export function semidefiniteFactor(a: SquareMatrix, n: number): { columns: Float64Array; rank: number } {
  const columns = new Float64Array(n * n);
  const rest = Float64Array.from({ length: n }, (_, i) => a[i * n + i]!); // diagonal of A − L·Lᵀ
  const tolerance = n * Number.EPSILON * rest.reduce((m, x) => Math.max(m, x), 0);
  let rank = 0;
  for (; rank < n; rank++) {
    let pivot = 0;
    for (let i = 1; i < n; i++) if (rest[i]! > rest[pivot]!) pivot = i;
    if (!(rest[pivot]! > tolerance)) break;
    const root = Math.sqrt(rest[pivot]!);
    const column = columns.subarray(rank * n, (rank + 1) * n);
    for (let i = 0; i < n; i++) column[i] = a[i * n + pivot]!;
    for (let k = 0; k < rank; k++) {
      const earlier = columns.subarray(k * n, (k + 1) * n);
      const factor = earlier[pivot]!;
      for (let i = 0; i < n; i++) column[i]! -= factor * earlier[i]!;
    }
    for (let i = 0; i < n; i++) {
      column[i]! /= root;
      rest[i]! -= column[i]! ** 2;
    }
    rest[pivot] = 0;
  }
  return { columns: columns.subarray(0, rank * n), rank };
}

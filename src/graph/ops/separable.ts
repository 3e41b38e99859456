/** @file Linear maps that treat rows and columns of an image apart: resizing, average pooling. */
import type { Tensor } from '../tensor.js';
import { literal } from '../tensor.js';
import { matmul } from './matmul.js';

/** A constant matrix, row-major, in float64 until it enters the graph. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** The matrix with entries `at(row, column)`. */
export function matrix(rows: number, columns: number, at: (row: number, column: number) => number): Matrix {
  const data = Float64Array.from({ length: rows * columns }, (_, i) => at(Math.floor(i / columns), i % columns));
  return { rows, columns, data };
}

export function transposed(m: Matrix): Matrix {
  return matrix(m.columns, m.rows, (r, c) => m.data[c * m.columns + r]!);
}

const isIdentity = ({ rows, columns, data }: Matrix): boolean =>
  rows === columns && data.every((v, i) => v === (i % (columns + 1) === 0 ? 1 : 0));

const tensorOf = (m: Matrix, like: Tensor): Tensor => literal(Array.from(m.data), [m.rows, m.columns], like.dtype);

/**
 * vertical · x · horizontalᵀ for every channel, as two matrix products, the cheaper order first.
 *
 * @param x [..., H, W]
 * @param vertical [H', H]
 * @param horizontal [W', W]
 * @returns [..., H', W']
 */
export function separable(x: Tensor, vertical: Matrix, horizontal: Matrix): Tensor {
  const [h, w] = x.shape.slice(-2) as [number, number];
  const down = (t: Tensor): Tensor => (isIdentity(vertical) ? t : matmul(tensorOf(vertical, x), t));
  const across = (t: Tensor): Tensor => (isIdentity(horizontal) ? t : matmul(t, tensorOf(transposed(horizontal), x)));
  const downFirst = vertical.rows * w * (h + horizontal.rows);
  const acrossFirst = h * horizontal.rows * (w + vertical.rows);
  return downFirst < acrossFirst ? across(down(x)) : down(across(x));
}

/** @file Distances between sets of images without the Fréchet distance's bias: KID, and FID extrapolated to infinitely many images. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { permutation } from '../random/random.js';
import { frechetDistance, gaussianStatistics } from './frechet.js';
import type { GaussianStatistics } from './frechet.js';

/** Of fewer images than features the Fréchet distance is mostly bias; FID is published with 10,000 and more. */
export const fewForFrechet = (count: number, width: number): boolean => count < 2 * width;

/**
 * The squared maximum mean discrepancy by the kernel (x·y/D + 1)³, unbiased: 0 on average for two sets of one kind,
 * whatever their number (Bińkowski et al., arXiv 1801.01401). May be negative.
 *
 * @param a features [N, D], @param b features [M, D]; N, M > 1
 */
export function kernelDistance(a: HostTensor, b: HostTensor): number {
  const [n, width] = a.shape as [number, number];
  const m = b.shape[0]!;
  if (b.shape[1] !== width || n < 2 || m < 2) {
    throw new Error(`KID of features [${a.shape.join(', ')}] and [${b.shape.join(', ')}]: it takes two of one width with two rows or more each`);
  }
  const [x, y] = [a.data as Float32Array, b.data as Float32Array];
  const kernel = (u: Float32Array, i: number, v: Float32Array, j: number): number => {
    let dot = 0;
    for (let k = 0; k < width; k++) dot += u[i * width + k]! * v[j * width + k]!;
    return (dot / width + 1) ** 3;
  };
  /** Mean over the pairs of different rows. */
  const within = (u: Float32Array, count: number): number => {
    let total = 0;
    for (let i = 0; i < count; i++) for (let j = 0; j < i; j++) total += kernel(u, i, u, j);
    return (2 * total) / (count * (count - 1));
  };
  let between = 0;
  for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) between += kernel(x, i, y, j);
  return within(x, n) + within(y, m) - (2 * between) / (n * m);
}

/**
 * FID∞ (Chong and Forsyth, arXiv 1911.07023): the Fréchet distance from random subsets of falling size, a line through
 * it over 1/N, and that line's value at infinitely many images. The other set's statistics are taken as they are.
 *
 * @param features [N, D]
 * @param sizes of the subsets, from N down to half of it by default
 */
export function frechetInfinity(features: HostTensor, to: GaussianStatistics, { points = 8, seed = 0 } = {}): number {
  const [n, width] = features.shape as [number, number];
  const data = features.data as Float32Array;
  const measured = Array.from({ length: points }, (_, p): [number, number] => {
    const count = Math.max(2, Math.round(n * (1 - (0.5 * p) / Math.max(1, points - 1))));
    const order = permutation({ seed, stream: 'frechet-infinity', step: p }, 0, n).subarray(0, count);
    const rows = new Float32Array(count * width);
    Array.from(order).forEach((row, i) => rows.set(data.subarray(row * width, (row + 1) * width), i * width));
    return [1 / count, frechetDistance(gaussianStatistics(host(rows, [count, width])), to)];
  });
  const [u, v] = [0, 1].map((k) => measured.reduce((s, pair) => s + pair[k]!, 0) / points) as [number, number];
  const slope = measured.reduce((s, [x, y]) => s + (x - u) * (y - v), 0) / measured.reduce((s, [x]) => s + (x - u) ** 2, 0);
  return v - slope * u;
}

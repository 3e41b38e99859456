/** @file Distances between sets of images without the Fréchet distance's bias: KID, and FID extrapolated to infinitely many images. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { permutation } from '../random/random.js';
import { frechetDistance, gaussianStatistics } from './frechet.js';
import type { GaussianStatistics } from './frechet.js';

/** FID is published with 10,000 images and more, KID with 2,000. */
export const MANY = 2000;

/** What is wrong with the Fréchet distance of so few images, in a sentence; null where nothing is. @param width of the feature space */
export function fewImagesText(images: number, width: number): string | null {
  if (images >= MANY && images > width) return null;
  const why = images > width ? `of ${images} images it is too large by an amount that falls as 1/${images}`
    : `${images} images cannot fill a space of ${width} dimensions, so that more than anything else it tells how few they are`;
  return `The Fréchet distance needs thousands of images: ${why}. Hold it only against distances of as many images in the same space, `
    + `and never against published ones; the kernel distance (KID) has no such bias${images > width ? ', nor has Fréchet∞' : ''}.`;
}

/**
 * The squared maximum mean discrepancy by the kernel (x·y/D + 1)³, unbiased: 0 on average for two sets of one kind,
 * whatever their number (KID, Bińkowski et al., arXiv 1801.01403). May be negative. The kernel is meant for numbers of about
 * 1: unit vectors are taken √D long.
 *
 * @param a features [N, D], @param b features [M, D]; N, M > 1
 * @param paired row i of both is of the same noise: these pairs are left out, as in the U-statistic of Gretton et al. 2012,
 *   eq. 4, which is unbiased for such sets, and 0 for equal ones
 */
export function kernelDistance(a: HostTensor, b: HostTensor, { paired = false } = {}): number {
  const [n, width] = a.shape as [number, number];
  const m = b.shape[0]!;
  if (b.shape[1] !== width || n < 2 || m < 2 || (paired && m !== n)) {
    throw new Error(`KID of features [${a.shape.join(', ')}] and [${b.shape.join(', ')}]: it takes two of one width with two rows or more each, pairs of one number`);
  }
  const [x, y] = [a.data as Float32Array, b.data as Float32Array];
  const scale = areUnit(x, n, width) && areUnit(y, m, width) ? 1 : width;
  /** Mean over the pairs of rows, of different ones where `different`. */
  const mean = (u: Float32Array, rows: number, v: Float32Array, others: number, different: boolean): number => {
    let total = 0;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < others; j++) {
        if (different && i === j) continue;
        let dot = 0;
        for (let k = 0; k < width; k++) dot += u[i * width + k]! * v[j * width + k]!;
        total += (dot / scale + 1) ** 3;
      }
    }
    return total / (rows * (different ? others - 1 : others));
  };
  return mean(x, n, x, n, true) + mean(y, m, y, m, true) - 2 * mean(x, n, y, m, paired);
}

function areUnit(rows: Float32Array, n: number, width: number): boolean {
  for (let i = 0; i < n; i++) {
    let square = 0;
    for (let k = 0; k < width; k++) square += rows[i * width + k]! ** 2;
    if (Math.abs(square - 1) > 1e-3) return false;
  }
  return true;
}

/**
 * FID∞ (Chong and Forsyth, arXiv 1911.07023): the Fréchet distance from random subsets of falling size, a line through
 * it over 1/N, and that line's value at infinitely many images. Of both sets the same rows are drawn, which may be of the same
 * noise. Below D images covariances have no full rank, and there is no such line.
 *
 * @param a and `b`: features [N, D], N > D
 * @param points sizes of subsets, from N down to half of it
 */
export function frechetInfinity(a: HostTensor, b: HostTensor, { points = 5, seed = 0 } = {}): number {
  const [n, width] = a.shape as [number, number];
  const measured = Array.from({ length: points }, (_, p): [number, number] => {
    const count = Math.max(2, Math.round(n * (1 - (0.5 * p) / Math.max(1, points - 1))));
    const order = Array.from(permutation({ seed, stream: 'frechet-infinity', step: p }, 0, n).subarray(0, count));
    const drawn = ({ data }: HostTensor): GaussianStatistics => {
      const rows = new Float32Array(count * width);
      order.forEach((row, i) => rows.set((data as Float32Array).subarray(row * width, (row + 1) * width), i * width));
      return gaussianStatistics(host(rows, [count, width]));
    };
    return [1 / count, frechetDistance(drawn(a), drawn(b))];
  });
  const [u, v] = [0, 1].map((k) => measured.reduce((s, pair) => s + pair[k]!, 0) / points) as [number, number];
  const slope = measured.reduce((s, [x, y]) => s + (x - u) * (y - v), 0) / measured.reduce((s, [x]) => s + (x - u) ** 2, 0);
  return v - slope * u;
}

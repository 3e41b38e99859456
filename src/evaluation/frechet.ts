/** @file The Fréchet distance between two sets of images, each taken as a Gaussian in a feature space (as in FID). */
import type { HostTensor } from '../graph/dtype.js';
import { semidefiniteFactor, symmetricEigenvalues } from './eigenvalues.js';

export interface GaussianStatistics {
  /** Images they were made from. */
  readonly count: number;
  readonly mean: Float64Array; // [D]
  /** With divisor count − 1. */
  readonly covariance: Float64Array; // [D, D]
}

/**
 * Mean and covariance of feature rows.
 *
 * @param features float32 [N, D], N > 1
 */
export function gaussianStatistics(features: HostTensor): GaussianStatistics {
  const [n, width] = features.shape as [number, number];
  if (features.shape.length !== 2 || n < 2) {
    throw new Error(`statistics need features [N, D] of at least two images, not [${features.shape.join(', ')}]`);
  }
  const data = features.data as Float32Array;
  const mean = new Float64Array(width);
  for (let i = 0; i < n; i++) for (let k = 0; k < width; k++) mean[k]! += data[i * width + k]! / n;
  const covariance = new Float64Array(width * width);
  const row = new Float64Array(width);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < width; k++) row[k] = data[i * width + k]! - mean[k]!;
    for (let k = 0; k < width; k++) {
      const factor = row[k]! / (n - 1);
      for (let l = 0; l <= k; l++) covariance[k * width + l]! += factor * row[l]!;
    }
  }
  for (let k = 0; k < width; k++) for (let l = 0; l < k; l++) covariance[l * width + k] = covariance[k * width + l]!;
  return { count: n, mean, covariance };
}

/**
 * ‖μ₁ − μ₂‖² + tr(C₁ + C₂ − 2 (C₁^½ C₂ C₁^½)^½), the squared 2-Wasserstein distance of the two Gaussians (Heusel et
 * al., arXiv 1706.08500). With any factor C₁ = L·Lᵀ, the trace of the root is the sum of the roots of the eigenvalues
 * of Lᵀ C₂ L.
 *
 * From few images the covariances are poor and the distance is biased upwards, by an amount that falls as 1/N: compare
 * only distances made from equal numbers of images, and read them against that of two independent sets of one kind.
 */
export function frechetDistance(a: GaussianStatistics, b: GaussianStatistics): number {
  const n = a.mean.length;
  if (b.mean.length !== n) throw new Error(`Fréchet distance of features with ${n} and with ${b.mean.length} numbers`);
  let distance = 0;
  for (let k = 0; k < n; k++) {
    distance += (a.mean[k]! - b.mean[k]!) ** 2 + a.covariance[k * n + k]! + b.covariance[k * n + k]!;
  }
  // Factoring the one made from fewer images leaves the smaller eigenvalue problem.
  const [few, many] = a.count <= b.count ? [a, b] : [b, a];
  const { columns, rank } = semidefiniteFactor(few.covariance, n);
  const product = congruence(columns, rank, many.covariance, n);
  for (const value of symmetricEigenvalues(product, rank)) distance -= 2 * Math.sqrt(Math.max(0, value));
  return Math.max(0, distance);
}

/** Lᵀ C L for a factor given by its columns [rank, n] and C [n, n]: [rank, rank] */
function congruence(columns: Float64Array, rank: number, c: Float64Array, n: number): Float64Array {
  const product = new Float64Array(rank * rank);
  const image = new Float64Array(n); // C · one column
  for (let i = 0; i < rank; i++) {
    for (let k = 0; k < n; k++) {
      let sum = 0;
      for (let l = 0; l < n; l++) sum += c[k * n + l]! * columns[i * n + l]!;
      image[k] = sum;
    }
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += columns[j * n + k]! * image[k]!;
      product[i * rank + j] = sum;
      product[j * rank + i] = sum;
    }
  }
  return product;
}

/** @file How different the images of one prompt are, measured on their features. */
import type { HostTensor } from '../graph/dtype.js';

/** Row numbers that share a prompt, for each prompt in order of first appearance. */
export function rowsByPrompt(prompts: readonly string[]): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  prompts.forEach((prompt, i) => {
    const rows = groups.get(prompt);
    if (rows) rows.push(i);
    else groups.set(prompt, [i]);
  });
  return groups;
}

/**
 * Σᵢⱼ ‖eᵢ − eⱼ‖² / (2n(n − 1)) over the given rows, made unit vectors first. Computed as the trace of the sample
 * covariance, Σᵢ ‖eᵢ − ē‖² / (n − 1), which is the same number.
 */
function spread(features: HostTensor, rows: readonly number[]): number {
  const width = features.shape[1]!;
  const data = features.data as Float32Array;
  const scales = rows.map((row) => 1 / length(data.subarray(row * width, (row + 1) * width)));
  let total = 0;
  for (let k = 0; k < width; k++) {
    let mean = 0;
    rows.forEach((row, i) => (mean += (data[row * width + k]! * scales[i]!) / rows.length));
    rows.forEach((row, i) => (total += (data[row * width + k]! * scales[i]! - mean) ** 2));
  }
  return total / (rows.length - 1);
}

function length(row: Float32Array): number {
  const norm = Math.sqrt(row.reduce((total, v) => total + v * v, 0));
  if (norm === 0) throw new Error('a feature vector of zeros has no direction; are the images valid?');
  return norm;
}

/**
 * Mean pairwise cosine distance 1 − cos(eᵢ, eⱼ), i ≠ j, among the images of each prompt, in order of first appearance: the
 * diversity of Nabla-GFlowNet (arXiv 2412.07775), which is the mean of these, with our features in DreamSim's place. 0: all
 * alike. A prompt with a single image has none.
 *
 * @param features float32 [N, D], of any length
 * @param prompts the prompts of these N images
 * @throws Error if no prompt has two images
 */
export function diversities(features: HostTensor, prompts: readonly string[]): number[] {
  if (features.shape.length !== 2 || features.shape[0] !== prompts.length) {
    const shape = features.shape.join(', ');
    throw new Error(`diversity of features [${shape}] needs one prompt a row, not ${prompts.length}`);
  }
  const groups = [...rowsByPrompt(prompts).values()].filter((rows) => rows.length > 1);
  if (groups.length === 0) throw new Error('diversity needs at least two images of one prompt');
  // For unit vectors ‖a − b‖² = 2 (1 − cos), so the mean over pairs is the spread.
  return groups.map((rows) => spread(features, rows));
}

/** 1 − cos of each image's vector with that of the other set's image of the same prompt and noise: with DreamSim's vectors its distance. */
export function drifts(before: HostTensor, after: HostTensor): number[] {
  const [n, width] = before.shape as [number, number];
  if (after.shape.join() !== before.shape.join()) throw new Error(`drift of features [${before.shape.join(', ')}] to [${after.shape.join(', ')}]`);
  const row = (t: HostTensor, i: number): Float32Array => (t.data as Float32Array).subarray(i * width, (i + 1) * width);
  return Array.from({ length: n }, (_, i) => {
    const [a, b] = [row(before, i), row(after, i)];
    // Half the squared distance of the unit vectors: near 0 it is exact where 1 − cos is rounding.
    const [la, lb] = [length(a), length(b)];
    return a.reduce((sum, v, k) => sum + (v / la - b[k]! / lb) ** 2, 0) / 2;
  });
}

/** The mean of a prompt's diversities over the prompts. @throws as they do */
export function diversity(features: HostTensor, prompts: readonly string[]): number {
  const each = diversities(features, prompts);
  return each.reduce((total, d) => total + d, 0) / each.length;
}

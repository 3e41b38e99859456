/** @file Retrieval: whether a judge finds an image's own caption among many. */
import type { HostTensor } from '../graph/dtype.js';

/**
 * For each image, how many captions the judge likes better than its own (0: it is the first). Captions that score the
 * same as the own one count as better by half, so that a judge who cannot tell them apart gains nothing.
 *
 * @param images unit vectors, float32 [N, D]
 * @param captions unit vectors of all candidates, float32 [M, D]
 * @param own for each image, the row of its caption
 */
export function captionRanks(images: HostTensor, captions: HostTensor, own: readonly number[]): Float64Array {
  const [n, width] = images.shape as [number, number];
  const m = captions.shape[0]!;
  if (captions.shape[1] !== width || own.length !== n) {
    throw new Error(`cannot match images [${images.shape.join(', ')}] with captions [${captions.shape.join(', ')}]`);
  }
  const [x, y] = [images.data as Float32Array, captions.data as Float32Array];
  return Float64Array.from(own, (target, i) => {
    const cosine = (j: number): number => {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += x[i * width + k]! * y[j * width + k]!;
      return sum;
    };
    const wanted = cosine(target);
    let rank = 0;
    for (let j = 0; j < m; j++) {
      if (j === target) continue;
      const other = cosine(j);
      rank += other > wanted ? 1 : other === wanted ? 0.5 : 0;
    }
    return rank;
  });
}

/** The share of ranks below k: top-k accuracy. */
export function topK(ranks: Float64Array, k: number): number {
  return ranks.filter((rank) => rank < k).length / ranks.length;
}

/** @file The true size of a JPEG file, a black box (DDPO, arXiv 2305.13301, §5.1). */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import type { BlackBoxReward } from './reward.js';
import { takeRows } from './rows.js';

/** DDPO's quality. */
const QUALITY = 95;

/** Bytes of an image [3, H, W] in [0, 1] as a JPEG file. */
export type JpegBytes = (image: HostTensor, quality: number) => Promise<number>;

/**
 * sign · kB (1000 bytes) of each picture written as 8-bit JPEG; sign −1 rewards compressibility, +1 its opposite.
 *
 * @param jpegBytes the encoder: another one is another reward
 */
export function jpegSize(name: string, sign: 1 | -1, jpegBytes: JpegBytes): BlackBoxReward {
  return {
    name,
    description: `${sign < 0 ? 'minus ' : ''}the kB of the image as a JPEG file of quality ${QUALITY}`,
    range: sign < 0 ? [-6, -0.6] : [0.6, 6],
    differentiable: false,
    async score(images) {
      const [n, ...shape] = images.shape as [number, ...number[]];
      const scores = new Float32Array(n);
      for (let i = 0; i < n; i++) {
        const image = host(takeRows(images, i, 1).data, shape);
        scores[i] = (sign * await jpegBytes(image, QUALITY)) / 1000;
      }
      return scores;
    },
  };
}

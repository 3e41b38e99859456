/** @file Resizing pictures in float32, with Pillow's conventions: pixel centres, and averaging when they shrink. */
import { host, type HostTensor } from '../graph/dtype.js';

export type ResizeKernel = 'nearest' | 'cubic' | 'lanczos3';

/** Reach in source pixels, and weight at a distance within it. */
const KERNELS = {
  cubic: { reach: 2, weight: cubic },
  lanczos3: { reach: 3, weight: (x: number) => sinc(x) * sinc(x / 3) },
};

/** Keys' cubic with a = -1/2. */
function cubic(distance: number): number {
  const x = Math.abs(distance);
  return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/**
 * float32 [3, H, W] → [3, height, width]. The cubic and Lanczos kernels overshoot at edges: the result is kept in
 * [0, 1].
 */
export function resizeImage(
  image: HostTensor, width: number, height: number, kernel: ResizeKernel = 'lanczos3',
): HostTensor {
  const [planes, h, w] = image.shape as [number, number, number];
  const rows = along(image.data as Float32Array, planes * h, w, 1, width, kernel); // [3, H, width]
  const out = along(rows, planes, h, width, height, kernel).map((v) => Math.min(1, Math.max(0, v)));
  return host(out, [planes, height, width]);
}

/** Resamples the middle axis of [outer, from, inner] to length `to`. */
function along(
  data: Float32Array, outer: number, from: number, inner: number, to: number, kernel: ResizeKernel,
): Float32Array {
  if (from === to) return data;
  const out = new Float32Array(outer * to * inner);
  for (let i = 0; i < to; i++) {
    const { first, weights } = taps(i, from, to, kernel);
    for (let o = 0; o < outer; o++) {
      const target = (o * to + i) * inner;
      for (const [k, weight] of weights.entries()) {
        const source = (o * from + first + k) * inner;
        for (let n = 0; n < inner; n++) out[target + n]! += weight * data[source + n]!;
      }
    }
  }
  return out;
}

/** The source pixels that make pixel `i`, and their weights, which add up to 1. */
function taps(i: number, from: number, to: number, kernel: ResizeKernel): { first: number; weights: number[] } {
  const step = from / to;
  const centre = (i + 0.5) * step;
  if (kernel === 'nearest') return { first: Math.floor(centre), weights: [1] };
  const { reach, weight } = KERNELS[kernel];
  const stretch = Math.max(1, step); // shrinking: the kernel covers as many pixels more as vanish
  const first = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
  const end = Math.min(from, Math.trunc(centre + reach * stretch + 0.5));
  const weights = Array.from({ length: end - first }, (_, k) => {
    const distance = (first + k + 0.5 - centre) / stretch;
    return Math.abs(distance) < reach ? weight(distance) : 0;
  });
  const sum = weights.reduce((a, b) => a + b, 0);
  return { first, weights: weights.map((value) => value / sum) };
}

/**
 * @file Resizing images as PyTorch, torchvision and Pillow do. Each output row is a weighted sum of input rows and so
 * is each column: two products with constant matrices, differentiable as they are.
 */
import { describeShape, traceError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { upsampleNearest } from './pool.js';
import { matrix, separable } from './separable.js';
import type { Matrix } from './separable.js';

export { upsampleNearest } from './pool.js';

export type ResizeMode = 'nearest' | 'nearest-exact' | 'linear' | 'cubic' | 'box' | 'lanczos';

export interface ResizeOptions {
  /** 'linear' by default; 'box' and 'lanczos' exist with antialiasing only. */
  mode?: ResizeMode;
  /** Corner pixels keep their place (torch align_corners); not with antialiasing. */
  alignCorners?: boolean;
  /** When shrinking, widen the filter by the factor, as Pillow always does and torchvision by default. */
  antialias?: boolean;
  /** Keys' cubic parameter; by default −0.5 with antialiasing (Pillow, torchvision), −0.75 without (PyTorch). */
  cubicCoefficient?: number;
}

/** Keys' (1981) cubic convolution kernel with parameter a. */
function keys(t: number, a: number): number {
  const x = Math.abs(t);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Filters of Pillow (libImaging/Resample.c): their reach and their value at a distance. */
const FILTERS = {
  box: { reach: 0.5, weight: (x: number) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  linear: { reach: 1, weight: (x: number) => Math.max(0, 1 - Math.abs(x)) },
  cubic: { reach: 2, weight: keys },
  lanczos: { reach: 3, weight: (x: number) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Row i holds the weights of the inputs within the filter's reach of output i; beyond the edge there is nothing. */
function antialiased(n: number, out: number, mode: keyof typeof FILTERS, a: number): Matrix {
  const { reach, weight } = FILTERS[mode];
  const scale = n / out;
  const stretch = Math.max(scale, 1);
  const rows = Array.from({ length: out }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const end = Math.min(n, Math.trunc(centre + reach * stretch + 0.5));
    const weights = Array.from({ length: end - first }, (__, k) => weight((first + k - centre + 0.5) / stretch, a));
    const total = weights.reduce((s, v) => s + v, 0);
    return { first, weights: weights.map((v) => v / total) };
  });
  return matrix(out, n, (i, j) => rows[i]!.weights[j - rows[i]!.first] ?? 0);
}

/** Row i holds the weights of the 2 (linear) or 4 (cubic) inputs around output i's place; the edge is repeated. */
function interpolating(n: number, out: number, mode: 'linear' | 'cubic', a: number, alignCorners: boolean): Matrix {
  const data = new Float64Array(out * n);
  for (let i = 0; i < out; i++) {
    const place = alignCorners ? (out > 1 ? (i * (n - 1)) / (out - 1) : 0) : ((i + 0.5) * n) / out - 0.5;
    const at = mode === 'linear' ? Math.max(place, 0) : place;
    const base = Math.floor(at);
    for (let k = mode === 'linear' ? 0 : -1; k <= (mode === 'linear' ? 1 : 2); k++) {
      const source = Math.min(Math.max(base + k, 0), n - 1);
      const distance = at - base - k;
      data[i * n + source]! += mode === 'linear' ? FILTERS.linear.weight(distance) : keys(distance, a);
    }
  }
  return { rows: out, columns: n, data };
}

/** Row i picks one input. PyTorch computes its place in float32, which matters where the product is whole. */
function nearest(n: number, out: number, offset: number): Matrix {
  const scale = Math.fround(n / out);
  const pick = (i: number): number => Math.min(Math.floor(Math.fround((i + offset) * scale)), n - 1);
  return matrix(out, n, (i, j) => (j === pick(i) ? 1 : 0));
}

function weights(n: number, out: number, options: ResizeOptions): Matrix {
  const { mode = 'linear', alignCorners = false, antialias = false } = options;
  const a = options.cubicCoefficient ?? (antialias ? -0.5 : -0.75);
  if (mode === 'nearest' || mode === 'nearest-exact') return nearest(n, out, mode === 'nearest' ? 0 : 0.5);
  if (antialias) return antialiased(n, out, mode, a);
  return interpolating(n, out, mode as 'linear' | 'cubic', a, alignCorners);
}

/**
 * Resizes images: torch interpolate, torchvision Resize, and Pillow up to its rounding to bytes.
 *
 * @param x [B, C, H, W]
 * @param size [H', W']
 * @returns [B, C, H', W']
 */
export function resize(x: Tensor, size: readonly [number, number], options: ResizeOptions = {}): Tensor {
  const { mode = 'linear', alignCorners, antialias } = options;
  if (x.rank !== 4 || size.some((d) => !(d >= 1))) {
    traceError('resize', `cannot make ${describeShape(x.shape)} an image of ${describeShape(size)}`);
  }
  if ((mode === 'box' || mode === 'lanczos') && !antialias) traceError('resize', `mode ${mode} needs antialias`);
  if (mode.startsWith('nearest') && (antialias || alignCorners)) {
    traceError('resize', `mode ${mode} goes neither with antialias nor with alignCorners`);
  }
  if (alignCorners && antialias) traceError('resize', 'alignCorners does not go with antialias');
  const [h, w] = x.shape.slice(2) as [number, number];
  if (mode.startsWith('nearest') && size[0] % h === 0 && size[1] % w === 0) {
    return upsampleNearest(x, [size[0] / h, size[1] / w]);
  }
  return separable(x, weights(h, size[0], options), weights(w, size[1], options));
}

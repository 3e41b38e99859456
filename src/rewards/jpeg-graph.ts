/**
 * @file JPEG's lossy part as a differentiable graph (Shin & Song 2017, "JPEG-resistant Adversarial Images"): YCbCr,
 * 4:2:0 chroma, 8 × 8 cosine transform, quantisation by the standard tables.
 */
import { sub } from '../graph/ops/arithmetic.js';
import { conv2d } from '../graph/ops/conv.js';
import { pad, reshape, transpose } from '../graph/ops/layout.js';
import { matmul } from '../graph/ops/matmul.js';
import { mean } from '../graph/ops/reduce.js';
import { literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';

/** ITU-T T.81, tables K.1 and K.2, row by row. */
const LUMINANCE = [
  [16, 11, 10, 16, 24, 40, 51, 61],
  [12, 12, 14, 19, 26, 58, 60, 55],
  [14, 13, 16, 24, 40, 57, 69, 56],
  [14, 17, 22, 29, 51, 87, 80, 62],
  [18, 22, 37, 56, 68, 109, 103, 77],
  [24, 35, 55, 64, 81, 104, 113, 92],
  [49, 64, 78, 87, 103, 121, 120, 101],
  [72, 92, 95, 98, 112, 100, 103, 99],
].flat();
const CHROMINANCE = [
  [17, 18, 24, 47, 99, 99, 99, 99],
  [18, 21, 26, 66, 99, 99, 99, 99],
  [24, 26, 56, 99, 99, 99, 99, 99],
  [47, 66, 99, 99, 99, 99, 99, 99],
  Array.from({ length: 32 }, () => 99),
].flat();

/** The table for a quality of 1 to 100, scaled as libjpeg does (jcparam.c). */
export function quantisationTable(base: readonly number[], quality: number): number[] {
  const scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  return base.map((q) => Math.min(255, Math.max(1, Math.floor((q * scale + 50) / 100))));
}

/** JFIF's conversion from RGB: Y in [0, 1], Cb and Cr in [−½, ½]. */
const YCBCR = [
  [0.299, 0.587, 0.114],
  [-0.168735892, -0.331264108, 0.5],
  [0.5, -0.418687589, -0.081312411],
];

/**
 * [64, 64]: a block as a row times this is its orthonormal cosine transform in both directions, in units of the table's
 * steps.
 */
function blockTransform(table: readonly number[]): Tensor {
  const d = (k: number, n: number): number =>
    (k === 0 ? Math.SQRT1_2 : 1) * 0.5 * Math.cos(((2 * n + 1) * k * Math.PI) / 16);
  const m: number[] = [];
  for (let pixel = 0; pixel < 64; pixel++) {
    for (let k = 0; k < 64; k++) {
      const [y, x, v, u] = [pixel >> 3, pixel & 7, k >> 3, k & 7];
      m.push((d(v, y) * d(u, x)) / table[k]!);
    }
  }
  return literal(m, [64, 64]);
}

/** Cuts planes into blocks: [B, C, H, W], sides that 8 divides → [B, blocks, 64] */
function blocks(planes: Tensor): Tensor {
  const [b, c, h, w] = planes.shape as [number, number, number, number];
  const tiles = transpose(reshape(planes, [b, c, h / 8, 8, w / 8, 8]), [0, 1, 2, 4, 3, 5]);
  return reshape(tiles, [b, (c * h * w) / 64, 64]);
}

export interface JpegCoefficients {
  /** [B, H/8 · W/8, 64], the 64 row by row from the constant term */
  luma: Tensor;
  /** Cb, then Cr, at half the resolution: [B, 2 · H/16 · W/16, 64] */
  chroma: Tensor;
}

/**
 * The numbers that a JPEG encoder rounds and writes: cosine coefficients in units of their quantisation step.
 *
 * @param images [B, 3, H, W] in [0, 1], padded here to whole units of 16 × 16 by repeating the edge, as encoders do
 */
export function jpegCoefficients(images: Tensor, quality: number): JpegCoefficients {
  const [b, , height, width] = images.shape as [number, number, number, number];
  const [below, right] = [(16 - (height % 16)) % 16, (16 - (width % 16)) % 16];
  const whole = pad(images, [0, 0, 0, 0], [0, 0, below, right], 'edge');
  const [h, w] = [height + below, width + right];
  const convert = (rows: readonly number[][]): Tensor =>
    conv2d(whole, literal(rows.flat().map((v) => v * 255), [rows.length, 3, 1, 1]));
  const halved = mean(reshape(convert(YCBCR.slice(1)), [b, 2, h / 2, 2, w / 2, 2]), { axes: [3, 5] });
  return {
    luma: matmul(blocks(sub(convert(YCBCR.slice(0, 1)), 128)), blockTransform(quantisationTable(LUMINANCE, quality))),
    chroma: matmul(blocks(halved), blockTransform(quantisationTable(CHROMINANCE, quality))),
  };
}

/** @file Images of any size as CLIP takes them: shortest side resized, centre cropped. */
import { swapLast } from '../graph/ops/layout.js';
import { matmul } from '../graph/ops/matmul.js';
import { literal } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';

/** Keys' cubic with a = −1/2, as Pillow's BICUBIC. */
function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x >= 2) return 0;
  return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
}

/**
 * Matrix [from, to] that resizes an axis by `scale` with Pillow's bicubic filter (which averages when it shrinks) and
 * keeps the middle `to` of the result.
 */
function cubicMatrix(from: number, to: number, scale: number): Tensor {
  const stretch = Math.max(1, 1 / scale);
  const skipped = Math.floor((Math.round(from * scale) - to) / 2);
  const columns = Array.from({ length: to }, (_, i) => {
    const centre = (i + skipped + 0.5) / scale;
    const column = Array.from({ length: from }, (_w, k) => cubic((k + 0.5 - centre) / stretch));
    const sum = column.reduce((a, b) => a + b, 0);
    return column.map((w) => w / sum);
  });
  return literal(Array.from({ length: from * to }, (_, k) => columns[k % to]![Math.floor(k / to)]!), [from, to]);
}

/** [B, 3, H, W] → [B, 3, side, side], the shortest side resized to `side` and the longer one cropped to its middle. */
export function fitSquare(images: Tensor, side: number): Tensor {
  const [, , height, width] = images.shape as [number, number, number, number];
  if (height === side && width === side) return images;
  const scale = side / Math.min(height, width);
  const narrow = matmul(images, cubicMatrix(width, side, scale)); // [B, 3, H, side]
  return matmul(swapLast(cubicMatrix(height, side, scale)), narrow);
}

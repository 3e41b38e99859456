/** @file Images of any size as CLIP models take them: a square, cropped or padded. */
import { narrow, pad } from '../graph/ops/layout.js';
import { resize } from '../graph/ops/resize.js';
import type { Tensor } from '../graph/tensor.js';

/**
 * [B, 3, H, W] → [B, 3, side, side]: the shortest side resized to `side` with Pillow's bicubic filter, the longer one
 * to the same scale (rounded down) and cropped to its middle, as transformers' CLIPImageProcessor does.
 */
export function fitSquare(images: Tensor, side: number): Tensor {
  const [, , height, width] = images.shape as [number, number, number, number];
  if (height === side && width === side) return images;
  const scaled = (length: number): number => Math.floor((length * side) / Math.min(height, width));
  const middle = (x: Tensor, axis: number): Tensor => {
    const skipped = Math.floor((x.shape[axis]! - side) / 2);
    return narrow(x, axis, skipped, skipped + side);
  };
  const resized = resize(images, [scaled(height), scaled(width)], { mode: 'cubic', antialias: true });
  return middle(middle(resized, 2), 3);
}

/**
 * [B, 3, H, W] → [B, 3, side, side]: the longest side resized to `side` with the same filter, and black at both ends of
 * the shorter one, as HPSv2 does it (`ResizeMaxSize` in hpsv2/src/open_clip/transform.py of github.com/tgxs002/HPSv2).
 */
export function fitPadded(images: Tensor, side: number): Tensor {
  const [, , height, width] = images.shape as [number, number, number, number];
  if (height === side && width === side) return images;
  const scaled = (length: number): number => roundHalfEven((length * side) / Math.max(height, width));
  const [h, w] = [scaled(height), scaled(width)];
  const resized = resize(images, [h, w], { mode: 'cubic', antialias: true });
  const [top, left] = [Math.floor((side - h) / 2), Math.floor((side - w) / 2)];
  return pad(resized, [0, 0, top, left], [0, 0, side - h - top, side - w - left]);
}

/** Python's rounding: 6.5 → 6, 7.5 → 8. */
function roundHalfEven(x: number): number {
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 === 1 ? near - 1 : near;
}

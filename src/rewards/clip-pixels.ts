/** @file Images of any size as CLIP takes them: shortest side resized, centre cropped. */
import { narrow } from '../graph/ops/layout.js';
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

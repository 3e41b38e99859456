/**
 * @file Images of any size as CLIP models take them: a square, cropped or padded. The published code of all these rewards
 * resizes pictures of 8 bits with Pillow's bicubic filter and so does this, but for Pillow's rounding to whole levels.
 */
import { halfToEven } from '../graph/half-to-even.js';
import { straightThrough } from '../graph/grad.js';
import { clip } from '../graph/ops/arithmetic.js';
import { narrow, pad } from '../graph/ops/layout.js';
import { resize } from '../graph/ops/resize.js';
import type { Tensor } from '../graph/tensor.js';

/** Half a level of 8 bits: what exceeds the range by less is white (or black) by rounding, and keeps its gradient. */
const HALF = 0.5 / 255;

/** Cuts overshoots of a filter off. Plain white, which rounding errors put to either side of 1, keeps its gradient. */
const inRange = (x: Tensor): Tensor => straightThrough(clip(x, 0, 1), clip(x, -HALF, 1 + HALF));

/**
 * Pillow's bicubic resizing of pictures in [0, 1]: rows first, then columns (for some sizes Pillow 13 has it the other way
 * round, published code was used with older ones), each kept in [0, 1], as overshoots next to
 * black and white are cut off twice there. Pillow also rounds to whole levels, twice, which would have no gradient: the
 * result lies within 1.2 of its levels.
 *
 * @param size [H', W']
 */
export function resizePillow(images: Tensor, [height, width]: readonly [number, number]): Tensor {
  const [h, w] = images.shape.slice(2) as [number, number];
  const options = { mode: 'cubic', antialias: true } as const;
  const wide = w === width ? images : inRange(resize(images, [h, width], options));
  return h === height ? wide : inRange(resize(wide, [height, width], options));
}

/** Where a crop of `side` from the middle of `length` begins. */
type Middle = (length: number, side: number) => number;

/** transformers' CLIPImageProcessor, whose authors' models (PickScore) are published for it. */
const transformersMiddle: Middle = (length, side) => Math.floor((length - side) / 2);
/** torchvision's CenterCrop, in OpenAI's CLIP (the aesthetic predictor) and ImageReward: 1.5 becomes 2. */
const torchvisionMiddle: Middle = (length, side) => halfToEven((length - side) / 2);

/** @param shortest what the shortest side becomes before the crop; `side` by default */
const cropped = (middle: Middle) => (images: Tensor, side: number, shortest = side): Tensor => {
  const [, , height, width] = images.shape as [number, number, number, number];
  if (height === side && width === side && shortest === side) return images;
  const scaled = (length: number): number => Math.floor((length * shortest) / Math.min(height, width));
  const crop = (x: Tensor, axis: number): Tensor => {
    const skipped = middle(x.shape[axis]!, side);
    return narrow(x, axis, skipped, skipped + side);
  };
  return crop(crop(resizePillow(images, [scaled(height), scaled(width)]), 2), 3);
};

/**
 * [B, 3, H, W] → [B, 3, side, side]: the shortest side resized to `side`, the longer one to the same scale (rounded down)
 * and cropped to its middle, as transformers' CLIPImageProcessor does.
 */
export const fitSquare = cropped(transformersMiddle);

/** The same with the middle of torchvision's `Resize` and `CenterCrop`. */
export const fitSquareTorchvision = cropped(torchvisionMiddle);

/**
 * [B, 3, H, W] → [B, 3, side, side]: the longest side resized to `side` with the same filter, and black at both ends of
 * the shorter one, as HPSv2 does it (`ResizeMaxSize` in hpsv2/src/open_clip/transform.py of github.com/tgxs002/HPSv2).
 */
export function fitPadded(images: Tensor, side: number): Tensor {
  const [, , height, width] = images.shape as [number, number, number, number];
  if (height === side && width === side) return images;
  const scale = side / Math.max(height, width); // in this order: halves are decided by the last bit
  const [h, w] = [halfToEven(height * scale), halfToEven(width * scale)];
  const [top, left] = [Math.floor((side - h) / 2), Math.floor((side - w) / 2)];
  return pad(resizePillow(images, [h, w]), [0, 0, top, left], [0, 0, side - h - top, side - w - left]);
}

/** @file One source picture as 64x64 RGB on white, both styles at the same visual scale. */

import sharp from 'sharp';

export const SIZE = 64;

/** Share of the edge that the longer side of a typical emoji should fill; Noto's own is 0.94-0.97, Fluent's 0.875. */
const TYPICAL_FILL = 0.94;
const FLUENT_FILL = 0.875;
/** Nothing comes closer to the edge than this share allows. */
const LARGEST_FILL = 62 / 64;

/** Bounding box of what is visible in RGBA pixels: [left, top, right, bottom), in pixels. */
function visibleBox(pixels, width, height) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (pixels[(y * width + x) * 4 + 3] <= 16) continue;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y + 1);
    }
  }
  return { left, top, right, bottom };
}

/** Start of a window of `edge` pixels: centred on the picture, moved only as far as [low, high) needs to fit in. */
function windowStart(length, edge, low, high) {
  const margin = edge * (1 - LARGEST_FILL) / 2;
  return Math.round(Math.min(Math.max((length - edge) / 2, high + margin - edge), low - margin));
}

/** Copies a square window of RGBA pixels; what lies outside the picture is transparent. */
function cropSquare(pixels, width, height, left, top, edge) {
  const out = Buffer.alloc(edge * edge * 4);
  for (let y = Math.max(0, -top); y < Math.min(edge, height - top); y++) {
    const from = Math.max(0, -left);
    const to = Math.min(edge, width - left);
    pixels.copy(out, (y * edge + from) * 4, ((top + y) * width + left + from) * 4, ((top + y) * width + left + to) * 4);
  }
  return out;
}

/** The bytes of a PNG file. @param {string} file a PNG or WebP picture with transparency */
export async function renderPicture(file) {
  const { data, info } = await sharp(file).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  const { width, height } = info;
  const png = { compressionLevel: 9, palette: false };
  if (width === SIZE && height === SIZE) return sharp(file).flatten({ background: '#fff' }).png(png).toBuffer();
  const box = visibleBox(data, width, height);
  const longer = Math.max(box.right - box.left, box.bottom - box.top);
  const edge = Math.round(Math.max(width * FLUENT_FILL / TYPICAL_FILL, longer / LARGEST_FILL));
  const left = windowStart(width, edge, box.left, box.right);
  const top = windowStart(height, edge, box.top, box.bottom);
  return sharp(cropSquare(data, width, height, left, top, edge), { raw: { width: edge, height: edge, channels: 4 } })
    .resize(SIZE, SIZE, { kernel: 'lanczos3' })
    .flatten({ background: '#fff' })
    .png(png)
    .toBuffer();
}

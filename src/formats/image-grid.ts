/** @file Many pictures on one sheet, with labels. */
import { zeros, type HostTensor } from '../graph/dtype.js';
import { resizeImage, type ResizeKernel } from './image-resize.js';
import { imageSize, overlaySvg } from './image.js';
import { escapeXml } from './xml.js';

export interface GridOptions {
  /** Pictures in a row. Default: as square as can be. */
  readonly columns?: number;
  /** Pixels between pictures and around them. Default 4. */
  readonly gap?: number;
  /** A line of text under each picture, cut to its width; in order of the pictures. */
  readonly labels?: readonly string[];
  /** Pictures narrower than this are enlarged by a whole factor up to about it. Default 0. */
  readonly minWidth?: number;
  /** How they are enlarged. Default lanczos3. */
  readonly kernel?: ResizeKernel;
}

const FONT_PIXELS = 12;
const LABEL_PIXELS = 18;

/**
 * Lays pictures out in rows on white.
 * @param images float32 [3, H, W] in [0, 1], all of one size, at least one
 * @returns float32 [3, H', W']
 */
export async function imageGrid(images: readonly HostTensor[], options: GridOptions = {}): Promise<HostTensor> {
  const { gap = 4, labels = [], minWidth = 0, kernel } = options;
  if (images.length === 0) throw new Error('a grid needs at least one image');
  const { width: w, height: h } = imageSize(images[0]!);
  const factor = Math.max(1, Math.round(minWidth / w));
  const width = w * factor;
  const height = h * factor;
  const columns = Math.min(options.columns ?? Math.ceil(Math.sqrt(images.length)), images.length);
  const pitchX = width + gap;
  const pitchY = height + gap + (labels.length > 0 ? LABEL_PIXELS : 0);
  const sheet = zeros([3, gap + Math.ceil(images.length / columns) * pitchY, gap + columns * pitchX]);
  sheet.data.fill(1);
  const cells = images.map((_, i) => ({
    x: gap + (i % columns) * pitchX, y: gap + Math.floor(i / columns) * pitchY,
  }));
  for (const [i, image] of images.entries()) {
    const size = imageSize(image);
    if (size.width !== w || size.height !== h) {
      throw new Error(`a grid needs images of one size, not ${w}x${h} and ${size.width}x${size.height}`);
    }
    paste(sheet, factor === 1 ? image : resizeImage(image, width, height, kernel), cells[i]!);
  }
  return labels.length > 0 ? overlaySvg(sheet, labelSvg(sheet, labels, cells, width, height)) : sheet;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Copies a picture into the sheet with its upper left corner at (x, y). */
function paste(sheet: HostTensor & { data: Float32Array }, image: HostTensor, { x, y }: Point): void {
  const to = imageSize(sheet);
  const from = imageSize(image);
  for (let c = 0; c < 3; c++) {
    for (let row = 0; row < from.height; row++) {
      const start = (c * from.height + row) * from.width;
      const line = image.data.subarray(start, start + from.width) as Float32Array;
      sheet.data.set(line, (c * to.height + y + row) * to.width + x);
    }
  }
}

/** All labels as one SVG document. They need a font on the machine; without one the sheet simply has none. */
function labelSvg(
  sheet: HostTensor, labels: readonly string[], cells: readonly Point[], width: number, height: number,
): string {
  const room = Math.max(1, Math.floor(width / (0.56 * FONT_PIXELS))); // 0.56 em: a sans-serif's mean letter width
  const texts = cells.map(({ x, y }, i) => {
    const label = labels[i] ?? '';
    const cut = label.length > room ? `${label.slice(0, room - 1)}…` : label;
    return `<text x="${x}" y="${y + height + FONT_PIXELS}">${escapeXml(cut)}</text>`;
  });
  const size = imageSize(sheet);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}" ` +
    `font-family="sans-serif" font-size="${FONT_PIXELS}" fill="#222222">${texts.join('')}</svg>`;
}

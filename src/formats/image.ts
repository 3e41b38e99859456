/** @file Pictures as tensors: float32 [3, H, W], RGB in [0, 1], to and from image files. */
import { readFile, stat } from 'node:fs/promises';
import sharp, { type Sharp } from 'sharp';
import { host, type HostTensor } from '../graph/dtype.js';
import { writeAtomic } from './atomic.js';
import { FormatError, shown } from './errors.js';
import { withPngText } from './png-text.js';

export { resizeImage } from './image-resize.js';

export interface ReadImageOptions {
  /** Larger pictures are refused before they are decoded. Default 64 million. */
  readonly maxPixels?: number;
  /** Resize to fill this size and crop the rest symmetrically (Lanczos). Default: as it is. */
  readonly size?: { readonly width: number; readonly height: number };
  /** What shows through transparent pixels, a CSS colour. Default white. */
  readonly background?: string;
}

const MAX_FILE_BYTES = 1 << 28;

/**
 * Reads a picture of any kind sharp knows (PNG, JPEG, WebP, GIF, TIFF, AVIF, SVG), upright and in sRGB.
 * @param file path or content
 * @returns float32 [3, H, W] in [0, 1]
 */
export async function readImage(file: string | Uint8Array, options: ReadImageOptions = {}): Promise<HostTensor> {
  const { maxPixels = 64_000_000, size, background = '#ffffff' } = options;
  const where = typeof file === 'string' ? file : 'image';
  const content = typeof file === 'string' ? await readLimited(file) : file;
  try {
    let picture = sharp(content, { limitInputPixels: maxPixels, failOn: 'error' }).autoOrient();
    if (size) picture = picture.resize({ ...size, fit: 'cover', kernel: 'lanczos3' });
    const { data, info } = await picture.flatten({ background }).toColourspace('srgb').raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return fromBytes(data, info.width, info.height, info.channels);
  } catch (cause) {
    throw new FormatError(where, `cannot be read as an image (${shown((cause as Error).message)})`,
      `Give a whole PNG, JPEG or WebP file of at most ${maxPixels} pixels.`, { cause });
  }
}

async function readLimited(path: string): Promise<Buffer> {
  const remedy = 'Check that the path is right and the file readable.';
  try {
    const { size } = await stat(path);
    if (size <= MAX_FILE_BYTES) return await readFile(path);
  } catch (cause) {
    throw new FormatError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, remedy, { cause });
  }
  throw new FormatError(path, `is over ${MAX_FILE_BYTES} bytes long, too much for an image`, remedy);
}

/** Interleaved bytes to planes; one channel (grey) is repeated. */
function fromBytes(bytes: Uint8Array, width: number, height: number, channels: number): HostTensor {
  const plane = width * height;
  const data = new Float32Array(3 * plane);
  for (let c = 0; c < 3; c++) {
    const from = channels >= 3 ? c : 0;
    for (let i = 0; i < plane; i++) data[c * plane + i] = bytes[i * channels + from]! / 255;
  }
  return host(data, [3, height, width]);
}

/** Width and height of a picture tensor, which must be float32 [3, H, W]. */
export function imageSize(image: HostTensor): { width: number; height: number } {
  const [channels, height, width] = image.shape;
  if (image.dtype !== 'float32' || image.shape.length !== 3 || channels !== 3 || !height || !width) {
    throw new Error(`an image is float32 [3, H, W], not ${image.dtype} [${image.shape.join(', ')}]`);
  }
  return { width, height };
}

/** The picture as sharp takes it: interleaved bytes, rounded to nearest, clamped to [0, 255]. */
function toSharp(image: HostTensor): Sharp {
  const { width, height } = imageSize(image);
  const plane = width * height;
  const bytes = new Uint8ClampedArray(3 * plane); // rounds and clamps; NaN becomes 0
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < plane; i++) bytes[3 * i + c] = (image.data[c * plane + i] as number) * 255;
  }
  return sharp(bytes, { raw: { width, height, channels: 3 } });
}

/**
 * @param image float32 [3, H, W] in [0, 1]; what lies outside is clamped
 * @param text PNG text chunks, e.g. `{ parameters: … }`
 * @internal
 */
export async function encodePng(image: HostTensor, text: Readonly<Record<string, string>> = {}): Promise<Buffer> {
  return withPngText(await toSharp(image).png().toBuffer(), text);
}

/** Writes a PNG atomically; see `encodePng`. */
export async function writePng(
  path: string, image: HostTensor, text?: Readonly<Record<string, string>>,
): Promise<void> {
  await writeAtomic(path, await encodePng(image, text));
}

/** The JFIF header that other writers put into every JPEG file and libvips leaves out. */
const JFIF_BYTES = 18;

/**
 * Bytes of the picture as a JPEG, for the compressibility reward (DDPO, ddpo_pytorch/rewards.py, uses quality 95).
 * Equal to what the reference's Pillow writes: baseline, 4:2:0, standard quantisation and Huffman tables, JFIF header.
 * @param image float32 [3, H, W] in [0, 1]
 */
export async function jpegBytes(image: HostTensor, quality = 95): Promise<number> {
  const jpeg = await toSharp(image).jpeg({
    quality, chromaSubsampling: '4:2:0', mozjpeg: false, progressive: false, optimiseCoding: false,
  }).toBuffer();
  return jpeg.length + JFIF_BYTES;
}

/** Draws an SVG document of the same size over a picture, through 8 bits. float32 [3, H, W] → [3, H, W]. */
export async function overlaySvg(image: HostTensor, svg: string): Promise<HostTensor> {
  const { width, height } = imageSize(image);
  const data = await toSharp(image).composite([{ input: Buffer.from(svg) }]).removeAlpha().raw().toBuffer();
  return fromBytes(data, width, height, 3);
}

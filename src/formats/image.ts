/** @file Pictures as tensors: float32 [3, H, W], RGB in [0, 1], to and from image files. */
import sharp, { type Sharp } from 'sharp';
import { host, type HostTensor } from '../graph/dtype.js';
import { writeAtomic } from './atomic.js';
import { FormatError, shown } from './errors.js';
import { pictureKind, scanCount } from './picture-kind.js';
import { withPngText } from './png-text.js';
import { MOST_BYTES, readWhole } from './whole-file.js';

export { resizeImage } from './image-resize.js';

export interface ReadImageOptions {
  /** Larger pictures are refused before they are decoded. Default 64 million. */
  readonly maxPixels?: number;
  /** Resize to fill this size and crop the rest symmetrically (Lanczos). Default: as it is. */
  readonly size?: { readonly width: number; readonly height: number };
  /** What shows through transparent pixels, a CSS colour. Default white. */
  readonly background?: string;
}

/** The default of `maxPixels`. Of all formats the slowest, progressive JPEG, takes a second of processor time for these. */
const MOST_PIXELS = 64_000_000;
/** The longest side. Cameras have up to 20,000; filters over a picture of one pixel by millions make no sense. */
const MOST_SIDE = 32_768;
/** Passes over a JPEG's coefficients. Encoders make ten; each costs as much as the picture, and needs hardly a byte. */
const MOST_SCANS = 20;

/**
 * A picture of one of the kinds that are read, unchanged, to be decoded by sharp: what it is told by its bytes, so that
 * no file reaches the readers of documents (SVG, PDF), which run for as long as the document wants.
 *
 * @throws FormatError if it is another kind, too large, or damaged where its size stands
 */
export async function openPicture(file: string | Uint8Array, maxPixels = MOST_PIXELS): Promise<Sharp> {
  const where = typeof file === 'string' ? file : 'image';
  const content = typeof file === 'string' ? await readWhole(file, MOST_BYTES.picture) : file;
  const kind = pictureKind(content);
  if (kind === null) {
    throw new FormatError(where, 'cannot be read as an image (its bytes are of no kind that is read, whatever its name says)',
      'Give a PNG, JPEG, WebP, GIF, TIFF or AVIF file.');
  }
  const picture = sharp(content, { limitInputPixels: maxPixels, failOn: 'error' });
  const { width, height } = await picture.metadata().catch((cause: Error) => {
    throw unreadable(where, maxPixels, cause);
  });
  const problem = width > MOST_SIDE || height > MOST_SIDE ? `has sides of ${width} × ${height} pixels, over ${MOST_SIDE}`
    : kind === 'jpeg' && scanCount(content) > MOST_SCANS ? `is drawn in more than ${MOST_SCANS} passes` : null;
  if (problem) throw new FormatError(where, problem, 'Save it anew with an image editor.');
  return picture;
}

function unreadable(where: string, maxPixels: number, cause: Error): FormatError {
  return new FormatError(where, `cannot be read as an image (${shown(cause.message)})`,
    `Give a whole PNG, JPEG or WebP file of at most ${maxPixels} pixels.`, { cause });
}

/**
 * Reads a picture (PNG, JPEG, WebP, GIF, TIFF, AVIF; of several frames the first), upright and in sRGB.
 * @param file path or content
 * @returns float32 [3, H, W] in [0, 1]
 */
export async function readImage(file: string | Uint8Array, options: ReadImageOptions = {}): Promise<HostTensor> {
  const { maxPixels = MOST_PIXELS, size, background = '#ffffff' } = options;
  let picture = (await openPicture(file, maxPixels)).autoOrient();
  if (size) picture = picture.resize({ ...size, fit: 'cover', kernel: 'lanczos3' });
  try {
    const { data, info } = await picture.flatten({ background }).toColourspace('srgb').raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return fromBytes(data, info.width, info.height, info.channels);
  } catch (cause) {
    throw unreadable(typeof file === 'string' ? file : 'image', maxPixels, cause as Error);
  }
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

/** What a JPEG of the picture shows. float32 [3, H, W] → [3, H, W] */
export async function throughJpeg(image: HostTensor, quality: number): Promise<HostTensor> {
  return readImage(await toSharp(image).jpeg({ quality }).toBuffer());
}

/** A Gaussian blur, through 8 bits. @param sigma its deviation in pixels, from 0.3 */
export async function blurred(image: HostTensor, sigma: number): Promise<HostTensor> {
  return readImage(await toSharp(image).blur(sigma).png().toBuffer());
}

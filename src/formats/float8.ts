/** @file Eight-bit floats, widened to float16, which has every value of both formats. */
import { host, type HostTensor, type Shape } from '../graph/dtype.js';
import { readBytes, type ByteSource } from './byte-source.js';

/** The two formats of "FP8 Formats for Deep Learning" (arXiv 2209.05433), by the names that PyTorch has for them. */
export type Float8 = 'e4m3fn' | 'e5m2';

/** The float16 word of an 8-bit float. */
function word(byte: number, format: Float8): number {
  if (format === 'e5m2') return byte << 8; // the upper half of a float16
  const sign = (byte & 0x80) << 8;
  const exponent = (byte >> 3) & 15;
  const fraction = byte & 7;
  if (exponent === 15 && fraction === 7) return sign | 0x7e00; // its only NaN; it has no infinity
  if (exponent > 0) return sign | ((exponent + 8) << 10) | (fraction << 7); // biases 7 and 15
  if (fraction === 0) return sign;
  const top = Math.floor(Math.log2(fraction)); // fraction * 2^-9 is a normal float16
  return sign | ((top + 6) << 10) | ((fraction << (10 - top)) & 0x3ff);
}

const tables = new Map<Float8, Uint16Array>();

/** Reads `shape` 8-bit floats at offset `at` as float16. */
export async function readFloat8(source: ByteSource, at: number, shape: Shape, format: Float8): Promise<HostTensor> {
  const table = tables.get(format) ?? Uint16Array.from({ length: 256 }, (_, byte) => word(byte, format));
  tables.set(format, table);
  const bytes = await readBytes(source, at, shape.reduce((count, size) => count * size, 1));
  return host(Uint16Array.from(bytes, (byte) => table[byte]!), shape, 'float16');
}

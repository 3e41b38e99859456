/** @file Text chunks of a PNG, where image tools look for the generation parameters. */
import { crc32 } from './crc.js';

/** Length of the PNG signature and the IHDR chunk, which must come first. */
const HEADER_BYTES = 8 + 25;

/**
 * A copy of a PNG with text chunks after its header: tEXt for ASCII, iTXt (UTF-8) for the rest, since some readers
 * take the Latin-1 of tEXt for UTF-8. The keyword `parameters` is what A1111 and the tools after it read.
 * @param text keyword (1 to 79 Latin-1 characters) to text
 */
export function withPngText(png: Uint8Array, text: Readonly<Record<string, string>>): Buffer {
  const chunks = Object.entries(text).map(([keyword, value]) => {
    if (!/^[\x20-\x7e\xa1-\xff]{1,79}$/.test(keyword)) throw new Error(`"${keyword}" cannot be a PNG text keyword`);
    return /^[ -~\s]*$/.test(value)
      ? chunk('tEXt', Buffer.from(`${keyword}\0${value}`, 'latin1'))
      // keyword, NUL, no compression (two bytes), empty language, empty translated keyword, text
      : chunk('iTXt', Buffer.concat([Buffer.from(`${keyword}\0\0\0\0\0`, 'latin1'), Buffer.from(value, 'utf8')]));
  });
  return Buffer.concat([png.subarray(0, HEADER_BYTES), ...chunks, png.subarray(HEADER_BYTES)]);
}

function chunk(type: string, data: Buffer): Buffer {
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt32BE(data.length);
  out.write(type, 4, 'latin1');
  data.copy(out, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length);
  return out;
}

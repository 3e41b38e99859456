/** @file What kind of picture bytes are, by their first: file names lie. */

export type PictureKind = 'png' | 'jpeg' | 'webp' | 'gif' | 'tiff' | 'avif';

const ascii = (bytes: Uint8Array, from: number, text: string): boolean =>
  bytes.length >= from + text.length && [...text].every((c, i) => bytes[from + i] === c.charCodeAt(0));

const TESTS: readonly [PictureKind, (bytes: Uint8Array) => boolean][] = [
  ['png', (b) => ascii(b, 0, '\x89PNG\r\n\x1a\n')],
  ['jpeg', (b) => ascii(b, 0, '\xff\xd8\xff')],
  ['webp', (b) => ascii(b, 0, 'RIFF') && ascii(b, 8, 'WEBP')],
  ['gif', (b) => ascii(b, 0, 'GIF87a') || ascii(b, 0, 'GIF89a')],
  ['tiff', (b) => ascii(b, 0, 'II*\0') || ascii(b, 0, 'MM\0*')],
  ['avif', (b) => ascii(b, 4, 'ftyp') && brands(b).includes('avif')],
];

/** Major and compatible brands of an ISO base media file (ISO/IEC 14496-12, FileTypeBox). */
function brands(bytes: Uint8Array): string[] {
  const end = Math.min(bytes.length, ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0));
  const found: string[] = [];
  for (let at = 8; at + 4 <= end; at += 4) found.push(String.fromCharCode(...bytes.subarray(at, at + 4)));
  return found;
}

/** The kind, or null for anything that is not read. */
export function pictureKind(bytes: Uint8Array): PictureKind | null {
  return TESTS.find(([, test]) => test(bytes))?.[0] ?? null;
}

/** Start-of-scan markers of a JPEG (its data never holds one by chance: 0xff is followed by 0 there). */
export function scanCount(jpeg: Uint8Array): number {
  let count = 0;
  for (let at = jpeg.indexOf(0xff); at >= 0; at = jpeg.indexOf(0xff, at + 1)) if (jpeg[at + 1] === 0xda) count++;
  return count;
}

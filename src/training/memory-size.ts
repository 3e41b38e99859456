/** @file Sizes of memory as people write them. */

/** Bytes of 8GiB, 8 GB or 800MB; null if it is no such text. G and M count by 1,024. */
export function parseSize(text: string): number | null {
  const found = /^(\d+(?:\.\d+)?)\s*([MG])i?B?$/i.exec(text.trim());
  return found && Number(found[1]) > 0 ? Number(found[1]) * (found[2]!.toUpperCase() === 'G' ? 2 ** 30 : 2 ** 20) : null;
}

export const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(bytes < 2 ** 30 ? 2 : 1)} GiB`;

/** @file A full disk as an error of its own: which file, how much it needs, how much there is, what to do. */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';

/** There was no room for a file. What was saved before is as it was, and nothing half-written is left. */
export class DiskFullError extends Error {
  override readonly name = 'DiskFullError';
  readonly needed: number | null;
  readonly free: number | null;

  /**
   * @param path the file that was to be written
   * @param needed its bytes, where they are known
   * @param free bytes that the user may still write there, where the system tells
   */
  constructor(path: string, needed: number | null, free: number | null, options?: ErrorOptions) {
    const facts = [needed === null ? [] : `${told(needed)} to write`, free === null ? [] : `${told(free)} free`].flat();
    const room = facts.length > 0 ? ` (${facts.join(', ')})` : '';
    super(`${path}: the disk is full${room}. What was saved before is untouched. Free some space, then go on: `
      + 'train and pretrain with --resume, other commands by running them again.', options);
    this.needed = needed;
    this.free = free;
  }
}

/** Bytes in a unit that suits them: 999 B, 1.0 kB, 12 MB. */
function told(bytes: number): string {
  const power = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** power;
  return `${value.toFixed(power > 0 && value < 10 ? 1 : 0)} ${['B', 'kB', 'MB', 'GB', 'TB'][power]!}`;
}

/** No space left on the device; no more of it for this user. */
const FULL = new Set(['ENOSPC', 'EDQUOT']);

/**
 * Does `work`, which writes the file `path`, and tells if the disk was too full for it. What `work` began it has to
 * remove itself, so that the free space is told without it.
 *
 * @param needed bytes of the file, where they are known
 * @throws DiskFullError in place of the system's error, or whatever else `work` throws
 */
export async function tellFullDisk<T>(path: string, needed: number | null, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!FULL.has((cause as NodeJS.ErrnoException | null)?.code ?? '')) throw cause;
    const free = await statfs(dirname(path)).then((s) => s.bavail * s.bsize, () => null);
    throw new DiskFullError(path, needed, free, { cause });
  }
}

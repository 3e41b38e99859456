/** @file Output that is checked before it takes its place: written beside it, and moved there when all is well. */
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { UsageError } from './arguments.js';

const EXIT = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Lets `write` write a file or folder to a temporary path of the same name and file system, then moves it to `out`. If
 * `write` fails or the process is interrupted, nothing is left and what was at `out` is untouched.
 *
 * @throws UsageError if `out` cannot become such a file or folder: a folder must be new or empty, a file is replaced
 */
export async function staged<T>(out: string, kind: 'file' | 'folder', write: (path: string) => Promise<T>): Promise<T> {
  const target = resolve(out);
  const found = await stat(target).catch(() => null);
  if (found && kind === 'file' && found.isDirectory()) throw new UsageError(`--out ${out} is a folder; name a file`);
  if (found && kind === 'folder' && !found.isDirectory()) throw new UsageError(`--out ${out} is a file; name a folder`);
  if (found?.isDirectory() && (await readdir(target)).length > 0) {
    throw new UsageError(`the folder ${out} is not empty; give --out another name`);
  }
  await mkdir(dirname(target), { recursive: true });
  const stage = await mkdtemp(join(dirname(target), '.attune-'));
  const interrupted = (signal: keyof typeof EXIT): never => {
    rmSync(stage, { recursive: true, force: true });
    process.exit(EXIT[signal]);
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    const path = join(stage, basename(target));
    const result = await write(path);
    if (found && kind === 'folder') await rmdir(target); // empty: not every system lets a folder take its place
    await rename(path, target);
    return result;
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
    await rm(stage, { recursive: true, force: true });
  }
}

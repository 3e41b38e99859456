/** @file Output that is checked before it takes its place: written beside it, and moved there when all is well. */
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { checkWritable } from '../formats/writable.js';
import { deferred } from '../host/resources.js';
import { UsageError } from './arguments.js';
import { CODES } from './supervise.js';
import type { StopSignal } from './supervise.js';

/**
 * Checks that `staged` can write to `out`; commands ask before they load anything.
 *
 * @throws FormatError or UsageError if it cannot become such a file or folder: a folder must be new or empty
 */
export async function checkTarget(out: string, kind: 'file' | 'folder'): Promise<void> {
  await checkWritable(out, kind);
  const there = kind === 'folder' ? await readdir(out).catch(() => []) : [];
  if (there.length > 0) throw new UsageError(`the folder ${out} is not empty; give --out another name`);
}

/**
 * Lets `write` write a file or folder to a temporary path of the same name and file system, then moves it to `out`. If
 * `write` fails or the process is interrupted, nothing is left and what was at `out` is untouched.
 *
 * A file that is there is replaced.
 *
 * @throws as `checkTarget`
 */
export async function staged<T>(out: string, kind: 'file' | 'folder', write: (path: string) => Promise<T>): Promise<T> {
  await checkTarget(out, kind);
  const target = resolve(out);
  const found = await stat(target).catch(() => null);
  await mkdir(dirname(target), { recursive: true });
  const stage = await mkdtemp(join(dirname(target), '.attune-'));
  const interrupted = (signal: StopSignal): never => {
    rmSync(stage, { recursive: true, force: true });
    process.exit(CODES[signal]);
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  await using _ = deferred(async () => {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
    await rm(stage, { recursive: true, force: true });
  });
  const path = join(stage, basename(target));
  const result = await write(path);
  if (found && kind === 'folder') await rmdir(target); // empty: not every system lets a folder take its place
  await rename(path, target);
  return result;
}

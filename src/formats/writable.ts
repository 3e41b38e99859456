/** @file Whether an output can be written, asked before the work begins: what stands in the way is told as a sentence. */
import { lstat, mkdtemp, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { tellFullDisk } from './disk-full.js';
import { FormatError } from './errors.js';

/** Bytes of a name on common file systems, and what a temporary name beside it takes more (see `writeAtomic`). */
const NAME_BYTES = 255;
const TEMPORARY_BYTES = 18;

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOTDIR: 'goes through a file as if it were a folder',
  ENAMETOOLONG: 'is too long a name',
  ELOOP: 'goes in circles through links',
  EACCES: 'may not be written by this user',
  EPERM: 'may not be written by this user',
  EROFS: 'lies on a file system that is read-only',
  EINVAL: 'is no name that this file system takes',
};

const ANOTHER = 'Name another place for the output.';

/** The error of the system as one of the user's, if it is of that kind. */
function refused(path: string, error: unknown): unknown {
  const problem = PROBLEMS[(error as NodeJS.ErrnoException).code ?? ''];
  return problem === undefined ? error : new FormatError(path, problem, ANOTHER, { cause: error });
}

/**
 * Checks that a file or folder can be made at `path`, or is there and can be written into. Nothing is left behind.
 *
 * @throws FormatError naming the path and what is wrong with it; DiskFullError
 */
export async function checkWritable(path: string, kind: 'file' | 'folder'): Promise<void> {
  if (path === '') throw new FormatError('the output', 'has no name', ANOTHER);
  const target = resolve(path);
  const long = target.split(sep).find((part) => Buffer.byteLength(part) > NAME_BYTES);
  const room = kind === 'file' ? NAME_BYTES - TEMPORARY_BYTES : NAME_BYTES;
  if (long !== undefined || Buffer.byteLength(basename(target)) > room) {
    throw new FormatError(`${path.slice(0, 60)}…`, `is too long a name (a part of it may have ${room} bytes)`, ANOTHER);
  }
  const found = await there(target, path);
  if (found && (kind === 'folder') !== found.isDirectory()) {
    throw new FormatError(path, kind === 'folder' ? 'is a file, not a folder' : 'is a folder, not a file', ANOTHER);
  }
  let folder = found?.isDirectory() ? target : dirname(target);
  for (let above = await there(folder, path); !above; above = await there(folder, path)) folder = dirname(folder);
  try {
    const probe = await tellFullDisk(path, null, () => mkdtemp(join(folder, '.attune-')));
    await rmdir(probe);
  } catch (error) {
    throw refused(path, error);
  }
}

/** What is at a path, through links; null for nothing. @throws FormatError for a link to nothing, or a path that is none */
async function there(at: string, path: string): Promise<Awaited<ReturnType<typeof stat>> | null> {
  try {
    return await stat(at);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw refused(path, error);
  }
  if ((await lstat(at).catch(() => null))?.isSymbolicLink()) {
    throw new FormatError(path, `${at === resolve(path) ? 'is' : 'goes through'} a link to nothing`, ANOTHER);
  }
  return null;
}

/** @file Writing a file so that a reader sees the old one or the whole new one, also after a crash or on a full disk. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { deferred } from '../host/resources.js';
import { tellFullDisk } from './disk-full.js';

/** Receives the bytes of a file in order. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

/**
 * Writes `content` to `path` by way of a temporary file in the same folder: write, fsync, rename, fsync of the
 * folder. The folder is made if it is missing. On failure the temporary file is removed and `path` is untouched.
 * @param content the text, the bytes, or a function that hands the bytes to a sink piece by piece
 * @param size bytes of all pieces together, for the message of a full disk
 * @throws DiskFullError naming `path` if there is no room for it
 */
export function writeAtomic(
  path: string, content: string | Uint8Array | ((sink: Sink) => Promise<void>), size?: number,
): Promise<void> {
  const bytes = typeof content === 'function' ? (size ?? null) : Buffer.byteLength(content);
  return tellFullDisk(path, bytes, () => replace(path, content));
}

/** As `writeAtomic`, without waiting for the disk: after a power cut it may be missing. For what can be done without. */
export function writeWhole(path: string, content: Uint8Array): Promise<void> {
  return tellFullDisk(path, content.length, () => replace(path, content, false));
}

/**
 * Appends all of `content` to a file, which is made if it is missing; on failure nothing.
 *
 * @throws DiskFullError naming `path` if there is no room for it
 */
export function appendWhole(path: string, content: string | Uint8Array): Promise<void> {
  return tellFullDisk(path, Buffer.byteLength(content), async () => {
    const handle = await open(path, 'a');
    await using _ = deferred(() => handle.close());
    const { size } = await handle.stat();
    await handle.appendFile(content).catch(async (error: unknown) => {
      await handle.truncate(size);
      throw error;
    });
  });
}

/** Names that only writes give which have not ended: of `writeAtomic`, of checkpoints, of locks. */
const UNFINISHED = /^\.(?:.+\.[0-9a-f]{12}|step-\d{6,})\.tmp$/;

/**
 * Removes what killed writes left below a folder. For an owner of the folder only: a write under way looks the same.
 *
 * @returns how many files and folders were removed
 */
export async function sweepUnfinished(folder: string): Promise<number> {
  let removed = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (UNFINISHED.test(entry.name)) {
      await rm(path, { recursive: true, force: true });
      removed += 1;
    } else if (entry.isDirectory()) removed += await sweepUnfinished(path);
  }
  return removed;
}

async function replace(path: string, content: string | Uint8Array | ((sink: Sink) => Promise<void>), durable = true): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true });
  const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx');
    try {
      if (typeof content === 'function') await content((bytes) => handle.writeFile(bytes));
      else await handle.writeFile(content);
      if (durable) await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  if (durable) await syncFolder(folder);
}

/** Makes the rename durable. Windows and some network file systems cannot sync a folder: there it is a no-op. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!['EISDIR', 'EPERM', 'EACCES', 'EINVAL', 'ENOTSUP'].includes(code)) throw error;
  }
}

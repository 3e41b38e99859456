/** @file Random access to bytes, whether they lie in a file or in memory. */
import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { IS_POINTER, isPointer, POINTER_BYTES } from './git-lfs.js';
import { FormatError } from './errors.js';

export interface ByteSource {
  /** The path or name that messages show. */
  readonly where: string;
  readonly size: number;
  /** Fills `into` with the bytes from offset `at`; a FormatError if the source ends before that. */
  read(into: Uint8Array, at: number): Promise<void>;
  close(): Promise<void>;
}

/** One read call is at most this long: libuv refuses more than 2 GiB. */
const READ_BYTES = 1 << 28;

function truncated(where: string, at: number, wanted: number, size: number): FormatError {
  return new FormatError(
    where, `ends at byte ${size}, but ${wanted} bytes were expected at ${at}`,
    'The file is truncated: download or copy it again.',
  );
}

/** Opens a file for random access. Errors: missing, unreadable, no regular file, or a pointer of Git LFS in its place. */
export async function fileSource(path: string): Promise<ByteSource> {
  const { handle, size } = await openRegular(path);
  return {
    where: path,
    size,
    async read(into, at) {
      for (let done = 0; done < into.length;) {
        const length = Math.min(into.length - done, READ_BYTES);
        const { bytesRead } = await handle.read(into, done, length, at + done);
        if (bytesRead === 0) throw truncated(path, at, into.length, at + done);
        done += bytesRead;
      }
    },
    close: () => handle.close(),
  };
}

/**
 * Opens what must be a regular file. To open a pipe would wait for a writer for ever, to open a device may do anything:
 * so it is looked at first, and opened such that what took its place in between cannot block either.
 */
async function openRegular(path: string): Promise<{ handle: FileHandle; size: number }> {
  let handle: FileHandle | undefined;
  try {
    if ((await stat(path)).isFile()) {
      handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)); // Windows knows no such flag
      const now = await handle.stat();
      if (now.isFile()) {
        await refusePointer(path, handle, now.size);
        return { handle, size: now.size };
      }
    }
  } catch (cause) {
    await handle?.close();
    if (cause instanceof FormatError) throw cause;
    throw new FormatError(path, `cannot be opened (${(cause as NodeJS.ErrnoException).code})`,
      'Check that the path is right and readable.', { cause });
  }
  await handle?.close();
  throw new FormatError(path, 'is not a file', 'Give the path of a file, not of a folder, pipe or device.');
}

async function refusePointer(path: string, handle: FileHandle, size: number): Promise<void> {
  if (size >= POINTER_BYTES) return;
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, 0);
  if (isPointer(buffer.subarray(0, bytesRead))) throw new FormatError(path, IS_POINTER, 'Run `git lfs pull` in its repository, or download the file.');
}

/** Bytes in memory; `name` is what messages call them. */
export function bufferSource(bytes: Uint8Array, name: string): ByteSource {
  return {
    where: name,
    size: bytes.length,
    async read(into, at) {
      if (at + into.length > bytes.length) throw truncated(name, at, into.length, bytes.length);
      into.set(bytes.subarray(at, at + into.length));
    },
    close: async () => {},
  };
}

/**
 * Reads `length` bytes at `at` as a buffer of their own. The caller has checked `length` against a limit.
 *
 * @internal
 */
export async function readBytes(source: ByteSource, at: number, length: number): Promise<Buffer> {
  if (at < 0 || at + length > source.size) throw truncated(source.where, at, length, source.size);
  const bytes = Buffer.alloc(length);
  await source.read(bytes, at);
  return bytes;
}

/** Reads from `at` on up to `most` bytes, or to the end. */
export function readUpTo(source: ByteSource, at: number, most: number): Promise<Buffer> {
  return readBytes(source, at, Math.min(most, source.size - at));
}

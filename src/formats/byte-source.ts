/** @file Random access to bytes, whether they lie in a file or in memory. */
import { open, type FileHandle } from 'node:fs/promises';
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

/** Opens a file for random access. Errors: missing, unreadable, or a folder. */
export async function fileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (cause) {
    throw new FormatError(path, `cannot be opened (${(cause as NodeJS.ErrnoException).code})`,
      'Check that the path is right and readable.', { cause });
  }
  const stat = await handle.stat();
  if (!stat.isFile()) {
    await handle.close();
    throw new FormatError(path, 'is not a file', 'Give the path of a file.');
  }
  return {
    where: path,
    size: stat.size,
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

/** Reads `length` bytes at `at` as a buffer of their own. The caller has checked `length` against a limit. */
export async function readBytes(source: ByteSource, at: number, length: number): Promise<Buffer> {
  if (at < 0 || at + length > source.size) throw truncated(source.where, at, length, source.size);
  const bytes = Buffer.alloc(length);
  await source.read(bytes, at);
  return bytes;
}

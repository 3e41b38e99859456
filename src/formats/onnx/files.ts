/** @file Reads an `.onnx` file and the tensor data that it keeps in files beside it, and never from anywhere else. */
import { closeSync, fstatSync, openSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, sep, win32 } from 'node:path';
import type { ExternalData } from '../../graph/onnx/external.js';
import { LIMITS, OnnxError, quoted } from '../../graph/onnx/error.js';
import { IS_POINTER, isPointer } from '../git-lfs.js';

/** One read call is at most this long: libuv refuses more than 2 GiB. */
const READ_BYTES = 2 ** 28;

/** The bytes of the model at `path`. */
export function readModelFile(path: string): Uint8Array {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw new OnnxError(path, 'is not a file');
    if (stat.size > LIMITS.fileBytes) {
      const remedy = 'export the model with its data in files beside it';
      throw new OnnxError(path, `has ${stat.size} bytes, more than ${LIMITS.fileBytes}: ${remedy}`);
    }
    const bytes = readFileSync(path);
    if (isPointer(bytes)) throw new OnnxError(path, `${IS_POINTER}: run \`git lfs pull\` in its repository, or download the file`);
    return bytes;
  } catch (cause) {
    if (cause instanceof OnnxError) throw cause;
    throw new OnnxError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, undefined, { cause });
  }
}

interface OpenFile {
  readonly fd: number;
  readonly size: number;
  /** Bytes that may still be read. */
  left: number;
}

const inside = (folder: string, path: string): boolean => {
  const from = relative(folder, path);
  return from !== '' && from !== '..' && !from.startsWith(`..${sep}`) && !isAbsolute(from);
};

/**
 * The external data of the model at `modelPath`. A data file must lie in the model's folder, also after following
 * symbolic links; where the model is a link itself (the Hugging Face cache), the folder that it points into counts too.
 */
export function openExternalData(modelPath: string): ExternalData {
  const folder = dirname(modelPath);
  const allowed = [realpathSync(folder), dirname(realpathSync(modelPath))];
  const files = new Map<string, OpenFile>();

  const open = (location: string): OpenFile => {
    const refuse = (why: string): never => {
      throw new OnnxError(modelPath, `keeps data in ${quoted(location)}, which ${why}`);
    };
    if (isAbsolute(location) || win32.isAbsolute(location) || location.split(/[\\/]/).includes('..')) {
      refuse('is not inside the folder of the model');
    }
    if (location === '' || location.includes('\0')) refuse('is not a file name');
    let path = '';
    try {
      path = realpathSync(join(folder, location));
      // Opening a pipe would wait for ever.
      if (!statSync(path).isFile()) refuse('is not a file');
    } catch (cause) {
      if (cause instanceof OnnxError) throw cause;
      refuse(`is missing or unreadable (${(cause as NodeJS.ErrnoException).code}); put it beside the model`);
    }
    if (!allowed.some((a) => inside(a, path))) refuse('leads outside the folder of the model');
    const fd = openSync(path, 'r');
    const { size } = fstatSync(fd);
    // Tensors may share data, but not so that a small file fills the memory.
    return { fd, size, left: 2 * size };
  };

  return {
    read(location, offset, length) {
      const file = files.get(location) ?? open(location);
      files.set(location, file);
      const where = `bytes ${offset}–${offset + length} of ${quoted(location)}`;
      const fail = (problem: string): never => {
        throw new OnnxError(modelPath, problem);
      };
      if (offset + length > file.size) fail(`needs ${where}, which has only ${file.size}: it is cut short`);
      file.left -= length;
      if (file.left < 0) fail(`reads ${where}, overlapping other tensors many times over`);
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const count = readSync(file.fd, bytes, done, Math.min(length - done, READ_BYTES), offset + done);
        if (count === 0) fail(`needs ${where}, which became shorter while being read`);
        done += count;
      }
      return bytes;
    },
    close() {
      for (const { fd } of files.values()) closeSync(fd);
    },
  };
}

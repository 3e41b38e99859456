/** @file An `.onnx` file, with the data files beside it, as a differentiable function on tensors. */
import { basename } from 'node:path';
import { OnnxError } from '../../graph/onnx/error.js';
import { shown } from '../../graph/errors.js';
import { openExternalData, readModelFile } from './files.js';
import { importModel } from '../../graph/onnx/import.js';
import type { ImportOptions, OnnxFunction } from '../../graph/onnx/import.js';

/**
 * Reads an ONNX model, see `importModel`.
 *
 * @param source the bytes of the file, or its path (needed where data lie in other files); the names of its weights begin
 *   with the file's unless `prefix` says otherwise
 * @throws OnnxError also if a file cannot be read
 */
export function importOnnx(source: Uint8Array | { path: string }, options: ImportOptions = {}): OnnxFunction {
  if (source instanceof Uint8Array) return importModel(source, options);
  const { path } = source;
  const named = { prefix: `${basename(path, '.onnx')}/`, ...options };
  const bytes = readModelFile(path);
  try {
    return importModel(bytes, named, { file: path, external: openExternalData(path) });
  } catch (cause) {
    if (cause instanceof OnnxError) throw cause;
    throw new OnnxError(path, `cannot be imported (${shown(String(cause))})`, undefined, { cause });
  }
}

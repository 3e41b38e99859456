/** @file What an `.onnx` file says of its inputs, before its open dimensions are filled in. */
import type { DType } from '../../graph/dtype.js';
import { decodeModel } from '../../graph/onnx/decode.js';
import { readModelFile } from './files.js';
import { declaredShape, openInputs } from '../../graph/onnx/ports.js';
import type { Dimension } from '../../graph/onnx/ports.js';
import { computeDtype } from '../../graph/onnx/tensor-data.js';

export interface DeclaredPort {
  readonly name: string;
  /** Lengths; a text is the name of an open dimension, null a nameless one. Null as a whole: any shape. */
  readonly shape: readonly Dimension[] | null;
  /** As it is computed with (floats become float32); null for what is not supported. */
  readonly dtype: DType | null;
}

/** The inputs that a caller must give, in order. @throws OnnxError if the file cannot be read or is damaged */
export function declaredInputs(path: string): DeclaredPort[] {
  return openInputs(decodeModel(readModelFile(path), path)).map((info) => {
    const code = info.type?.tensorType?.elemType;
    const dtype = code === undefined ? null : computeDtype(code) ?? null;
    return { name: info.name, shape: declaredShape(info), dtype };
  });
}

/** @file What an `.onnx` file says of its inputs and outputs, before its open dimensions are filled in. */
import type { DType } from '../dtype.js';
import { decodeModel } from './decode.js';
import { readModelFile } from './files.js';
import { declaredShape } from './ports.js';
import type { Dimension } from './ports.js';
import { computeDtype } from './tensor-data.js';

export interface DeclaredPort {
  readonly name: string;
  /** Lengths; a text is the name of an open dimension, null a nameless one. Null as a whole: any shape. */
  readonly shape: readonly Dimension[] | null;
  /** As it is computed with (floats become float32); null for what is not supported. */
  readonly dtype: DType | null;
}

export interface OnnxInterface {
  /** The inputs that a caller must give, in order. */
  readonly inputs: readonly DeclaredPort[];
  readonly outputs: readonly string[];
}

/** @throws OnnxError if the file cannot be read or is damaged */
export function inspectOnnx(path: string): OnnxInterface {
  const { graph } = decodeModel(readModelFile(path), path);
  const given = new Set(graph.initializer.map((t) => t.name));
  return {
    inputs: graph.input.filter(({ name }) => !given.has(name)).map((info) => {
      const code = info.type?.tensorType?.elemType;
      const dtype = code === undefined ? null : computeDtype(code) ?? null;
      return { name: info.name, shape: declaredShape(info), dtype };
    }),
    outputs: graph.output.map(({ name }) => name),
  };
}

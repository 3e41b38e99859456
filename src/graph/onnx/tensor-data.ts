/** @file The numbers of an ONNX tensor, whichever of the format's fields they are in. */
import { arrayType, toFloat32 } from '../dtype.js';
import type { DType, HostTensor, TypedArray } from '../dtype.js';
import { describeShape } from '../errors.js';
import { LIMITS, OnnxError, quoted } from './error.js';
import { toNumber } from './decode.js';
import type { Int64, TensorMessage } from './decode.js';
import type { ExternalData } from './external.js';
import { ELEMENT_TYPES } from './schema.js';

const STORED = new Map<number, DType>(Object.entries(ELEMENT_TYPES).map(([dtype, code]) => [code, dtype as DType]));

/** Element types that a file may hold and we do not compute with, for messages. */
const FOREIGN: Readonly<Record<number, string>> = {
  4: 'uint16', 5: 'int16', 8: 'string', 12: 'uint32', 13: 'uint64', 14: 'complex64', 15: 'complex128', 17: 'float8',
  18: 'float8', 19: 'float8', 20: 'float8', 21: 'uint4', 22: 'int4', 23: 'float4',
};

/** The dtype that values of an ONNX element type are computed in: float32 for all floats. Undefined if unsupported. */
export function computeDtype(elementType: number): DType | undefined {
  const dtype = STORED.get(elementType);
  return dtype === 'float16' || dtype === 'bfloat16' || dtype === 'float64' ? 'float32' : dtype;
}

export const elementTypeName = (code: number): string =>
  STORED.get(code) ?? FOREIGN[code] ?? `number ${code}, which ONNX does not define`;

/** Checks dimensions from a file. */
function readShape(dims: readonly Int64[], fail: (problem: string) => never): number[] {
  if (dims.length > LIMITS.rank) fail(`has ${dims.length} dimensions; ${LIMITS.rank} are supported`);
  const shape = dims.map(toNumber);
  const bad = shape.find((d) => !(d >= 0 && d <= LIMITS.elements));
  if (bad !== undefined) fail(`has a dimension of ${bad}`);
  // Without zeros: they would hide the size of the others.
  if (shape.filter((d) => d > 0).reduce((n, d) => n * d, 1) > LIMITS.elements) {
    fail(`has ${describeShape(shape)}: more than ${LIMITS.elements} elements`);
  }
  return shape;
}

function concatenated(chunks: readonly Uint8Array[]): Uint8Array {
  if (chunks.length === 1) return chunks[0]!;
  const all = new Uint8Array(chunks.reduce((n, c) => n + c.length, 0));
  let at = 0;
  for (const c of chunks) {
    all.set(c, at);
    at += c.length;
  }
  return all;
}

/** Packed varints → one number each, cut to the array's width. Null if their count is not the array's length. */
function unpackVarints(bytes: Uint8Array, into: TypedArray): TypedArray | null {
  let count = 0;
  for (const b of bytes) if (b < 0x80) count++;
  if (count !== into.length || (bytes.length > 0 && bytes.at(-1)! >= 0x80)) return null;
  let [at, low, high, shift] = [0, 0, 0, 0];
  for (const b of bytes) {
    // 28 bits in `low`, the rest in `high`: bitwise arithmetic has 32.
    if (shift < 28) low |= (b & 0x7f) << shift;
    else if (shift < 56) high |= (b & 0x7f) << (shift - 28);
    else if (shift < 70) high += (b & 0x7f) * 2 ** (shift - 28);
    shift += 7;
    if (b >= 0x80) continue;
    if (into instanceof BigInt64Array) into[at++] = BigInt.asIntN(64, (BigInt(high) << 28n) | BigInt(low));
    else into[at++] = (low | ((high & 0xf) << 28)) | 0;
    low = high = shift = 0;
  }
  return into;
}

/** The numbers of one tensor at a time, within a limit on all of them. */
export interface TensorReader {
  read(tensor: TensorMessage): HostTensor;
}

/**
 * A reader for the tensors of one file. All floats become float32.
 *
 * @throws OnnxError (from `read`) if dtype, shape and data do not belong together.
 */
export function tensorReader(file: string, external: ExternalData | null): TensorReader {
  let bytesLeft: number = LIMITS.tensorBytes;
  return {
    read(tensor) {
      const fail = (problem: string): never => {
        throw new OnnxError(file, `tensor ${quoted(tensor.name)} ${problem}`);
      };
      const dtype = STORED.get(tensor.dataType);
      if (!dtype) return fail(`holds elements of type ${elementTypeName(tensor.dataType)}, which is not supported`);
      if (tensor.segment) fail('is stored in segments, which is not supported');
      const shape = readShape(tensor.dims, fail);
      const size = shape.reduce((n, d) => n * d, 1);
      const Words = arrayType(dtype);
      const byteLength = size * Words.BYTES_PER_ELEMENT;
      bytesLeft -= size * (computeDtype(tensor.dataType) === 'float32' ? 4 : Words.BYTES_PER_ELEMENT);
      if (bytesLeft < 0) fail(`${describeShape(shape)} brings the file above ${LIMITS.tensorBytes} bytes of tensors`);
      const mismatch = (given: string): never =>
        fail(`${dtype}${describeShape(shape)} takes ${byteLength} bytes of data, but has ${given}`);

      const fromBytes = (raw: Uint8Array): TypedArray => {
        if (raw.length !== byteLength) mismatch(`${raw.length}`);
        // A copy, aligned, so that the file's own bytes can be let go.
        const own = raw.byteOffset === 0 && raw.buffer.byteLength === raw.length ? raw : new Uint8Array(raw);
        return new Words(own.buffer as ArrayBuffer, own.byteOffset, size);
      };
      const fromFields = (): TypedArray => {
        if (dtype === 'float32') return fromBytes(concatenated(tensor.floatData));
        if (dtype === 'float64') return fromBytes(concatenated(tensor.doubleData));
        const packed = concatenated(dtype === 'int64' ? tensor.int64Data : tensor.int32Data);
        if (packed.length < size) mismatch(`${packed.length} packed`);
        return unpackVarints(packed, new Words(size)) ?? mismatch('another number of values');
      };
      const fromElsewhere = (): TypedArray => {
        const entries = new Map(tensor.externalData.map((e) => [e.key, e.value]));
        const whole = (key: string, otherwise: number): number => {
          const text = entries.get(key) ?? String(otherwise);
          if (!/^\d{1,15}$/.test(text)) fail(`has external data with a bad ${key}: ${quoted(text)}`);
          return Number(text);
        };
        const [offset, length] = [whole('offset', 0), whole('length', byteLength)];
        if (length !== byteLength) mismatch(`${length} (external)`);
        if (!external) return fail('is kept in another file: import the model by its path');
        return fromBytes(external.read(entries.get('location') ?? '', offset, length));
      };
      const here = (): TypedArray => (tensor.rawData.length > 0 ? fromBytes(tensor.rawData) : fromFields());
      const data = tensor.dataLocation === 1 ? fromElsewhere() : here();
      const stored: HostTensor = { dtype, shape, data };
      if (dtype === 'float16' || dtype === 'bfloat16' || dtype === 'float64') {
        return { dtype: 'float32', shape, data: toFloat32(stored) };
      }
      return stored;
    },
  };
}

/** @file The header of a safetensors file: parsing with every check of the format, and writing. */
import { bytesPerElement, type DType } from '../graph/dtype.js';
import { FormatError, shown } from './errors.js';
import type { Float8 } from './float8.js';
import { flatEntries, isObject } from './json.js';
import { byteLength, MAX_TENSORS, type TensorInfo } from './weights.js';

/** Forty times the longest in use. The format allows six times as much, which takes longer to check than one waits. */
export const MAX_HEADER_BYTES = 1 << 24;

/** Names of the element types, in the order in which the reference writer sorts tensors (the widest come first). */
const CODES = [
  ['int64', 'I64'], ['float64', 'F64'], ['float32', 'F32'], ['int32', 'I32'], ['bfloat16', 'BF16'],
  ['float16', 'F16'], ['int8', 'I8'], ['uint8', 'U8'], ['bool', 'BOOL'],
] as const satisfies readonly (readonly [DType, string])[];

/** Eight-bit floats, which are only read: float16 has all their values, so that is what they are presented as. */
const FLOAT8 = new Map<string, Float8>([['F8_E4M3', 'e4m3fn'], ['F8_E5M2', 'e5m2']]);

/** By these, ComfyUI and others tell 8-bit weights that are not the values themselves but in need of a factor. */
const SCALES = /(^|\.)(scaled_fp8|scale_weight|weight_scale)$/;

const DTYPES = new Map<string, DType>(CODES.map(([dtype, code]) => [code, dtype]));
const ORDER = new Map<DType, { code: string; rank: number }>(
  CODES.map(([dtype, code], rank) => [dtype, { code, rank }]),
);

/** A tensor's place: `begin` counts from the first byte after the header. */
export interface Placed extends TensorInfo {
  readonly begin: number;
  /** The format of the bytes in the file, where a float16 tensor is made of 8-bit floats. */
  readonly float8?: Float8;
}

export interface Header {
  readonly metadata: Record<string, string>;
  /** By file position. */
  readonly tensors: Map<string, Placed>;
}

const DAMAGED = 'The file is damaged or not safetensors: download or export it again.';

/**
 * Parses and validates a header.
 * @param text the JSON, without its length prefix
 * @param dataBytes bytes of the file after the header: the tensors must fill exactly these, without gap or overlap
 */
export function parseHeader(text: string, dataBytes: number, where: string): Header {
  let metadata: Record<string, string> = {};
  const entries: [string, Placed, number][] = [];
  for (const [name, value] of flatEntries(text, `${where} (header)`)) {
    if (name === '__metadata__') metadata = parseMetadata(value, where);
    else if (entries.length < MAX_TENSORS) entries.push([name, ...parseEntry(value, dataBytes, where, name)]);
    else {
      throw new FormatError(where, `describes more than ${MAX_TENSORS} tensors`, 'No image model has so many: it is ' +
        'another kind of file, or hostile.');
    }
  }
  const scale = entries.find(([name]) => SCALES.test(name));
  if (scale && entries.some(([, { float8 }]) => float8)) {
    throw new FormatError(`${where}: tensor "${shown(scale[0])}"`, 'scales 8-bit weights, which is not supported',
      'Get the fp16, bf16 or fp32 version of the file.');
  }
  entries.sort((a, b) => a[1].begin - b[1].begin || a[2] - b[2]);
  let end = 0;
  for (const [name, { begin }, next] of entries) {
    if (begin !== end) {
      const what = begin < end ? 'overlaps the tensor before it' : `leaves a gap of ${begin - end} bytes before it`;
      throw new FormatError(`${where}: tensor "${shown(name)}"`, what, DAMAGED);
    }
    end = next;
  }
  if (end !== dataBytes) {
    throw new FormatError(where, `has ${dataBytes} bytes of data, but its tensors describe ${end}`, DAMAGED);
  }
  return { metadata, tensors: new Map(entries.map(([name, placed]) => [name, placed])) };
}

function parseMetadata(value: unknown, where: string): Record<string, string> {
  if (isObject(value) && Object.values(value).every((text) => typeof text === 'string')) {
    return value as Record<string, string>;
  }
  throw new FormatError(where, '"__metadata__" is not a map of strings to strings', DAMAGED);
}

/** One entry, checked on its own. Returns its place and where it ends. */
function parseEntry(value: unknown, dataBytes: number, file: string, name: string): [Placed, number] {
  const fail = (problem: string, remedy = DAMAGED): never => {
    throw new FormatError(`${file}: tensor "${shown(name)}"`, problem, remedy);
  };
  const { dtype: code, shape, data_offsets: offsets } = isObject(value) ? value : {};
  if (typeof code !== 'string' || !isSizes(shape) || !isSizes(offsets) || offsets.length !== 2) {
    return fail('lacks a valid dtype, shape or data_offsets');
  }
  const float8 = FLOAT8.get(code);
  const dtype = float8 ? 'float16' : DTYPES.get(code);
  if (!dtype) {
    return fail(`has the element type ${shown(code)}, which is not supported`, 'Supported are ' +
      `${[...DTYPES.keys(), ...FLOAT8.keys()].join(', ')}: get or export the fp16, bf16 or fp32 version of the file.`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) fail(`lies at bytes ${begin} to ${end} of ${dataBytes}`);
  // A product beyond 2^53 is inexact, but then it is also far above any file's size.
  const bytes = shape.reduce((product, size) => product * size, float8 ? 1 : bytesPerElement(dtype));
  if (bytes !== end - begin) {
    fail(`has shape [${shown(shape.join(', '))}] of ${float8 ? code : dtype}, ${bytes} bytes, ` +
      `but takes ${end - begin} bytes`);
  }
  return [{ dtype, shape, begin, ...(float8 && { float8 }) }, end];
}

/** Whether `value` is an array of a sane number of non-negative integers. */
function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= 32 && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

/**
 * Header bytes (length prefix included) and tensors in file order: by element type, then by name, as the reference
 * writer does, which keeps every tensor aligned. The header is padded with spaces to 8 bytes.
 */
export function layOut<T extends TensorInfo>(
  tensors: Iterable<readonly [string, T]>, metadata: Readonly<Record<string, string>>, where: string,
): { header: Buffer; ordered: (readonly [string, T])[] } {
  const ordered = [...tensors].sort(([a, x], [b, y]) =>
    ORDER.get(x.dtype)!.rank - ORDER.get(y.dtype)!.rank || (a < b ? -1 : 1));
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) parts.push(`"__metadata__":${JSON.stringify(metadata)}`);
  const seen = new Set(['__metadata__']);
  let begin = 0;
  for (const [name, info] of ordered) {
    if (seen.has(name)) throw new Error(`${where}: cannot write a second tensor named "${shown(name)}"`);
    seen.add(name);
    const end = begin + byteLength(info);
    const { code } = ORDER.get(info.dtype)!;
    parts.push(`${JSON.stringify(name)}:` +
      JSON.stringify({ dtype: code, shape: info.shape, data_offsets: [begin, end] }));
    begin = end;
  }
  const json = Buffer.from(`{${parts.join(',')}}`);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) throw new Error(`${where}: the header would be ${length} bytes, over the limit`);
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, 8);
  return { header, ordered };
}

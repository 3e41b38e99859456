/** @file Named tensors in a file, read on demand: the one face of every weight format. */
import { arrayType, bytesPerElement, host, isFloat, sizeOf, toFloat32 } from '../graph/dtype.js';
import type { DType, HostTensor, Shape } from '../graph/dtype.js';
import type { ByteSource } from './byte-source.js';
import { FormatError, shown } from './errors.js';

/** Most tensors of a file: twenty times what SDXL has. Each takes time to check, and a hostile file can name millions. */
export const MAX_TENSORS = 50_000;

export interface TensorInfo {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** How a tensor is wanted: as it lies in the file, or every float type as float32 (integers stay integers). */
export type ReadAs = 'stored' | 'float32';

export interface WeightSource {
  /** File or folder, for messages. */
  readonly where: string;
  /** Free text the file carries (safetensors `__metadata__`); empty for other formats. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What there is, in the order in which it is best read. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Reads one tensor. A name that is not in `tensors` is a FormatError. */
  read(name: string, as?: ReadAs): Promise<HostTensor>;
  close(): Promise<void>;
}

/** Bytes that a tensor takes in its file. */
export function byteLength(info: TensorInfo): number {
  return sizeOf(info.shape) * bytesPerElement(info.dtype);
}

/** The description of a tensor that must be there. */
export function tensorInfo<T>(where: string, tensors: ReadonlyMap<string, T>, name: string): T {
  const info = tensors.get(name);
  if (info) return info;
  throw new FormatError(where, `has no tensor "${shown(name)}"`, 'It may be a file for another model or component.');
}

/**
 * Reads every tensor. Peak memory is that of the result alone (see `readTensor`).
 * @param onProgress called after each tensor with the bytes of the file read so far and in all
 */
export async function readAll(
  source: WeightSource, as: ReadAs = 'stored', onProgress?: (bytesDone: number, bytesTotal: number) => void,
): Promise<Map<string, HostTensor>> {
  let total = 0;
  for (const info of source.tensors.values()) total += byteLength(info);
  const result = new Map<string, HostTensor>();
  let done = 0;
  for (const [name, info] of source.tensors) {
    result.set(name, await source.read(name, as));
    done += byteLength(info);
    onProgress?.(done, total);
  }
  return result;
}

/**
 * Reads a row-major tensor at offset `at`, straight into the array that is returned. 16-bit floats wanted as float32
 * are read into the upper half of the float32 array and widened in place, so that no second copy ever exists.
 */
export async function readTensor(source: ByteSource, at: number, info: TensorInfo, as: ReadAs): Promise<HostTensor> {
  const count = sizeOf(info.shape);
  if (as === 'float32' && (info.dtype === 'float16' || info.dtype === 'bfloat16')) {
    const values = new Float32Array(count);
    await source.read(new Uint8Array(values.buffer, 2 * count), at);
    widen(values, info.dtype);
    return { data: values, shape: info.shape, dtype: 'float32' };
  }
  const data = new (arrayType(info.dtype))(count);
  await source.read(new Uint8Array(data.buffer), at);
  return converted({ data, shape: info.shape, dtype: info.dtype }, as);
}

let halfTable: Float32Array | undefined;

/**
 * Makes float32 values of the 16-bit ones in the upper half of the same memory, from the front: value i comes from
 * word n + i and covers words 2i and 2i + 1 <= n + i, all of them read by then.
 */
function widen(values: Float32Array, dtype: 'float16' | 'bfloat16'): void {
  const count = values.length;
  const words = new Uint16Array(values.buffer, 2 * count, count);
  if (dtype === 'bfloat16') {
    const bits = new Uint32Array(values.buffer);
    for (let i = 0; i < count; i++) bits[i] = words[i]! << 16;
    return;
  }
  halfTable ??= toFloat32(host(Uint16Array.from({ length: 65536 }, (_, i) => i), [65536], 'float16'));
  const table = halfTable;
  for (let i = 0; i < count; i++) values[i] = table[words[i]!]!;
}

/** A tensor in memory, in the wanted form. */
export function converted(tensor: HostTensor, as: ReadAs): HostTensor {
  if (as === 'stored' || !isFloat(tensor.dtype) || tensor.dtype === 'float32') return tensor;
  return { data: toFloat32(tensor), shape: tensor.shape, dtype: 'float32' };
}

/** @file Element types and host-side arrays: what a tensor's numbers are and how they lie in memory. */

/** float32 and float16 are what is computed in; bfloat16 is storage; the integers index and count. */
export type DType = 'float32' | 'float16' | 'bfloat16' | 'float64' | 'int64' | 'int32' | 'int8' | 'uint8' | 'bool';

/** What weights can be stored as. */
export type StoredType = 'float32' | 'float16' | 'bfloat16';

export type Shape = readonly number[];

/** float16 and bfloat16 are kept as raw 16-bit words; bool as one byte per element. */
export type TypedArray =
  | Float32Array | Float64Array | Uint16Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;

/** A tensor with numbers: row-major data on the host. */
export interface HostTensor {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: TypedArray;
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const;

/** The typed-array class that holds `dtype`. */
export function arrayType(dtype: DType): (typeof ARRAYS)[DType] {
  return ARRAYS[dtype];
}

export function bytesPerElement(dtype: DType): number {
  return ARRAYS[dtype].BYTES_PER_ELEMENT;
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float16' || dtype === 'bfloat16' || dtype === 'float64';
}

/** Number of elements; 1 for a scalar (empty shape). */
export function sizeOf(shape: Shape): number {
  return shape.reduce((n, d) => n * d, 1);
}

/** Wraps numbers as a host tensor after checking that they fill the shape. */
export function host(data: TypedArray, shape: Shape, dtype: DType = 'float32'): HostTensor {
  if (data.length !== sizeOf(shape)) {
    throw new Error(`${data.length} values cannot fill shape [${shape.join(', ')}] (${sizeOf(shape)} elements)`);
  }
  if (!(data instanceof arrayType(dtype))) {
    throw new Error(`dtype ${dtype} is held in ${arrayType(dtype).name}, not ${data.constructor.name}`);
  }
  return { data, shape, dtype };
}

/** A float32 host tensor of zeros. */
export function zeros(shape: Shape): HostTensor & { data: Float32Array } {
  return { data: new Float32Array(sizeOf(shape)), shape, dtype: 'float32' };
}

const scratch = new DataView(new ArrayBuffer(4));

/** IEEE half-precision word → number. */
function halfToFloat(h: number): number {
  const exponent = (h >> 10) & 0x1f;
  const fraction = h & 0x3ff;
  const sign = h & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** number → IEEE half-precision word, round to nearest even, overflow to infinity. */
export function floatToHalf(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x47800000) return sign | 0x7c00; // >= 65536: infinity
  if (magnitude < 0x38800000) {
    // Subnormal half: the value in units of 2^-24, rounded to even.
    const units = Math.abs(Math.fround(value)) * 2 ** 24;
    const floor = Math.floor(units);
    const rest = units - floor;
    return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

/** number → bfloat16 word, round to nearest even. */
function floatToBfloat(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // keep NaN a NaN
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

const HALF_TABLE = new Float32Array(65536);
let halfTableReady = false;

/** Values as float32, whatever float type they are stored in; float32 data is returned as it is, not copied. */
export function toFloat32(tensor: HostTensor): Float32Array {
  const { data, dtype } = tensor;
  if (data instanceof Float32Array) return data;
  const out = new Float32Array(data.length);
  if (dtype === 'float16') {
    if (!halfTableReady) {
      for (let i = 0; i < 65536; i++) HALF_TABLE[i] = halfToFloat(i);
      halfTableReady = true;
    }
    for (let i = 0; i < out.length; i++) out[i] = HALF_TABLE[data[i] as number]!;
  } else if (dtype === 'bfloat16') {
    const words = new Uint32Array(out.buffer);
    for (let i = 0; i < words.length; i++) words[i] = (data[i] as number) << 16;
  } else {
    for (let i = 0; i < out.length; i++) out[i] = Number(data[i]);
  }
  return out;
}

/** float32 values stored as `dtype` (float32, float16 or bfloat16). */
export function fromFloat32(values: Float32Array, shape: Shape, dtype: StoredType): HostTensor {
  if (dtype === 'float32') return host(values, shape);
  const words = new Uint16Array(values.length);
  const convert = dtype === 'float16' ? floatToHalf : floatToBfloat;
  for (let i = 0; i < words.length; i++) words[i] = convert(values[i]!);
  return host(words, shape, dtype);
}

/** A float32 number without axes. */
export function scalarHost(value: number): HostTensor {
  return host(new Float32Array([value]), []);
}

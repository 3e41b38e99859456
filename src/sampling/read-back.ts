/** @file Is what was read from a written file what was meant to be in it, up to the rounding of its number format? */
import { FormatError } from '../formats/errors.js';
import { padded } from '../formats/lora-dialects/fold.js';
import { rankOf, scaleOf } from '../formats/lora.js';
import type { LoraFile } from '../formats/lora.js';
import { toFloat32 } from '../graph/dtype.js';
import type { DType, HostTensor } from '../graph/dtype.js';

/** Half a unit in the last place of 1; that of float16 holds down to its subnormal numbers. */
const ROUNDING: Readonly<Partial<Record<DType, number>>> = { float16: 2 ** -11, bfloat16: 2 ** -8 };
const SUBNORMAL = 2 ** -25;
/** A scale multiplied into a matrix, and alpha itself, are rounded too. */
const ROUNDINGS = 4;

/** A file that does not hold what was written to it: a defect, not a mistake of the user. */
class ReadBackError extends Error {
  override readonly name = 'ReadBackError';
}

/** Values that the number format of a file cannot hold: infinite when read back. */
class OverflowError extends Error {
  override readonly name = 'OverflowError';
}

/**
 * The largest difference between values and what a file holds of them.
 *
 * @param dtype what they were stored as
 * @throws FormatError for values that are no numbers; OverflowError for values beyond the range of the format;
 *   ReadBackError for other differences above rounding
 */
export function largestDifference(name: string, wanted: Float32Array, found: Float32Array, dtype: DType): number {
  if (wanted.length !== found.length) {
    throw new ReadBackError(`${name}: ${found.length} numbers were read back, not ${wanted.length}`);
  }
  const rounding = ROUNDINGS * (ROUNDING[dtype] ?? 2 ** -24);
  const least = dtype === 'float16' ? SUBNORMAL : 0;
  let largest = 0;
  for (let i = 0; i < wanted.length; i++) {
    const [value, read] = [wanted[i]!, found[i]!];
    const difference = Math.abs(value - read);
    if (!Number.isFinite(value)) {
      throw new FormatError(name, `holds ${value}`, 'The model or a LoRA is damaged, or its strength too high.');
    }
    if (difference <= Math.abs(value) * rounding + least) largest = Math.max(largest, difference);
    else if (!Number.isFinite(read)) {
      throw new OverflowError(`${name} holds ${value}, too large for ${dtype}; give --dtype bfloat16 or float32`);
    } else throw new ReadBackError(`${name}: ${read} was read back, not ${value}`);
  }
  return largest;
}

/**
 * The largest difference between the effects of two LoRAs: alpha/r · up, and down. What was read may be filled up with
 * zeros to a higher rank. @throws as `largestDifference`
 */
export function compareLoras(wanted: LoraFile, found: LoraFile): number {
  const missing = [...wanted.layers.keys()].filter((path) => !found.layers.has(path));
  if (missing.length > 0 || found.layers.size !== wanted.layers.size) {
    const which = missing.length > 0 ? `; ${missing[0]} is missing` : '';
    throw new ReadBackError(`${found.layers.size} layers were read back, not ${wanted.layers.size}${which}`);
  }
  let largest = 0;
  for (const [path, layer] of wanted.layers) {
    const b = found.layers.get(path)!;
    const a = rankOf(layer) < rankOf(b) ? padded(layer, rankOf(b)) : layer;
    const up = (l: typeof a): Float32Array => toFloat32(l.up).map((v) => v * scaleOf(l));
    largest = Math.max(largest,
      largestDifference(`${path}, up`, up(a), up(b), b.up.dtype),
      largestDifference(`${path}, down`, toFloat32(a.down), toFloat32(b.down), b.down.dtype));
  }
  return largest;
}

/** The largest difference between weights and what a file holds of them. @throws as `largestDifference` */
export function compareWeights(
  wanted: ReadonlyMap<string, HostTensor>, found: ReadonlyMap<string, HostTensor>, dtype: DType,
): number {
  let largest = 0;
  for (const [name, value] of wanted) {
    const read = found.get(name);
    if (!read) throw new ReadBackError(`${name} was not read back`);
    largest = Math.max(largest, largestDifference(name, toFloat32(value), toFloat32(read), dtype));
  }
  return largest;
}

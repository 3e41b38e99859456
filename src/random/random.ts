/**
 * @file Random numbers as a function of what they are for: (seed, stream, step, item, index). No history, so resuming
 * and re-running are exact, and an item's numbers do not depend on the batch it is in.
 */
import { philox } from './philox.js';

export interface Key {
  /** 0 … 2⁵³ − 1. */
  readonly seed: number;
  /** What the numbers are for, "latents" for instance; streams are independent of each other. */
  readonly stream: string;
  /** 0 … 2³² − 1, as is `item`. */
  readonly step: number;
}

/** FNV-1a, 32 bits, of a stream's name. */
function hash(text: string): number {
  return new TextEncoder().encode(text).reduce((h, byte) => Math.imul(h ^ byte, 0x01000193), 0x811c9dc5) >>> 0;
}

function checkWord(what: string, value: number): void {
  if (value >>> 0 !== value) throw new RangeError(`the ${what} must be a whole number below 2^32, not ${value}`);
}

type Words = Uint32Array;
/** Fills `out` with the four words of a block; another attempt at it gives other words. */
type Source = (block: number, out: Words, attempt?: number) => void;

/** @throws RangeError naming the part of the key that is out of range. */
function source(key: Key, item: number): Source {
  const { seed, stream, step } = key;
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`the seed must be a whole number from 0 to 2^53 - 1, not ${seed}`);
  }
  checkWord(`step of stream "${stream}"`, step);
  checkWord(`item of stream "${stream}"`, item);
  const name = hash(stream);
  const high = Math.floor(seed / 2 ** 32); // 21 bits; the attempt takes the bits above
  return (block, out, attempt = 0) => philox(block, item, step, name, seed >>> 0, high | (attempt << 21), out);
}

/** `count` doubles in [0, 1), of 53 random bits. */
export function uniform(key: Key, item: number, count: number): Float64Array {
  const fill = source(key, item);
  const words = new Uint32Array(4);
  const out = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const lane = (i & 1) * 2;
    if (lane === 0) fill(i >>> 1, words);
    out[i] = ((words[lane]! >>> 5) * 2 ** 26 + (words[lane + 1]! >>> 6)) / 2 ** 53;
  }
  return out;
}

/** `count` standard normal numbers (Box & Muller 1958), in doubles from two 32-bit words a pair. */
export function normal(key: Key, item: number, count: number): Float32Array {
  const fill = source(key, item);
  const words = new Uint32Array(4);
  const out = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const lane = i & 2;
    if (lane === 0) fill(i >>> 2, words);
    // (0, 1]: the logarithm stays finite.
    const radius = Math.sqrt(-2 * Math.log((words[lane]! + 1) / 2 ** 32));
    const angle = (2 * Math.PI * words[lane + 1]!) / 2 ** 32;
    out[i] = radius * Math.cos(angle);
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}

/** `count` whole numbers, the i-th in [0, boundOf(i)), each as likely; words that would favour some are drawn anew. */
function bounded(key: Key, item: number, count: number, boundOf: (i: number) => number): Uint32Array {
  const fill = source(key, item);
  const words = new Uint32Array(4);
  const again = new Uint32Array(4);
  const out = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const lane = i & 3;
    if (lane === 0) fill(i >>> 2, words);
    const bound = boundOf(i);
    const limit = 2 ** 32 - (2 ** 32 % bound);
    let word = words[lane]!;
    for (let attempt = 1; word >= limit; attempt++) {
      fill(i >>> 2, again, attempt);
      word = again[lane]!;
    }
    out[i] = word % bound;
  }
  return out;
}

/**
 * `count` whole numbers in [0, bound), each exactly as likely.
 *
 * @throws RangeError unless 1 <= bound <= 2³²
 */
export function integers(key: Key, item: number, count: number, bound: number): Uint32Array {
  if (!Number.isInteger(bound) || bound < 1 || bound > 2 ** 32) {
    throw new RangeError(`the bound of stream "${key.stream}" must be a whole number from 1 to 2^32, not ${bound}`);
  }
  return bounded(key, item, count, () => bound);
}

/** 0 … n − 1 in random order, each order as likely (Fisher & Yates). */
export function permutation(key: Key, item: number, n: number): Uint32Array {
  const out = Uint32Array.from({ length: n }, (_, i) => i);
  const partners = bounded(key, item, n, (i) => i + 1);
  for (let i = n - 1; i > 0; i--) {
    const j = partners[i]!;
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

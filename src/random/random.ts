/**
 * @file Random numbers as a function of what they are for: (seed, stream, step, item, index). No history, so resuming
 * and re-running are exact, and an item's numbers do not depend on the batch it is in.
 */
import { philox } from './philox.js';

export interface Key {
  readonly seed: number;
  /** What the numbers are for, "latents" for instance; streams are independent of each other. */
  readonly stream: string;
  readonly step: number;
}

/** FNV-1a of a stream's name. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** Calls `use` with four words at a time until `count` blocks were made. */
function blocks(key: Key, item: number, count: number, use: (words: Uint32Array, block: number) => void): void {
  const words = new Uint32Array(4);
  const stream = hash(key.stream);
  const high = Math.floor(key.seed / 2 ** 32) >>> 0;
  for (let i = 0; i < count; i++) {
    philox(i, item, key.step, stream, key.seed >>> 0, high, words);
    use(words, i);
  }
}

/** A double in [0, 1) from two words: 53 bits. */
const unit = (a: number, b: number): number => ((a >>> 5) * 67108864 + (b >>> 6)) / 9007199254740992;

/** `count` numbers in [0, 1). */
export function uniform(key: Key, item: number, count: number): Float64Array {
  const out = new Float64Array(count);
  blocks(key, item, Math.ceil(count / 2), (w, i) => {
    out[2 * i] = unit(w[0]!, w[1]!);
    if (2 * i + 1 < count) out[2 * i + 1] = unit(w[2]!, w[3]!);
  });
  return out;
}

/** `count` standard normal numbers (Box–Muller). */
export function normal(key: Key, item: number, count: number): Float32Array {
  const out = new Float32Array(count);
  blocks(key, item, Math.ceil(count / 4), (w, i) => {
    for (let k = 0; k < 2; k++) {
      const at = 4 * i + 2 * k;
      if (at >= count) return;
      // (0, 1]: the logarithm stays finite.
      const radius = Math.sqrt(-2 * Math.log((w[2 * k]! + 1) / 4294967296));
      const angle = (2 * Math.PI * w[2 * k + 1]!) / 4294967296;
      out[at] = radius * Math.cos(angle);
      if (at + 1 < count) out[at + 1] = radius * Math.sin(angle);
    }
  });
  return out;
}

/** `count` whole numbers in [0, bound), each as likely; bound ≤ 2³². */
export function integers(key: Key, item: number, count: number, bound: number): Uint32Array {
  const out = new Uint32Array(count);
  const values = uniform(key, item, count);
  for (let i = 0; i < count; i++) out[i] = Math.floor(values[i]! * bound);
  return out;
}

/** 0 … n − 1 in random order (Fisher–Yates). */
export function permutation(key: Key, item: number, n: number): Uint32Array {
  const out = Uint32Array.from({ length: n }, (_, i) => i);
  const draws = uniform(key, item, n);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(draws[i]! * (i + 1));
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

/** @file Philox4x32-10 (Salmon et al. 2011): four random words from a counter and a key, without any state. */

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** High 32 bits of the 64-bit product of two unsigned words, from halves whose sums all fit 32 bits. */
function mulHigh(a: number, b: number): number {
  const ah = a >>> 16;
  const al = a & 0xffff;
  const bh = b >>> 16;
  const bl = b & 0xffff;
  const middle = Math.imul(ah, bl) + (Math.imul(al, bl) >>> 16) | 0;
  const rest = Math.imul(al, bh) + (middle & 0xffff) | 0;
  return Math.imul(ah, bh) + (middle >>> 16) + (rest >>> 16) | 0;
}

/** Fills `out` with the four words of this counter (c0, c1, c2, c3) and key (k0, k1). */
export function philox(
  c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, out: Uint32Array,
): void {
  // Words are kept as signed 32-bit integers, which the engine computes with fastest; `out` makes them unsigned.
  let x0 = c0 | 0;
  let x1 = c1 | 0;
  let x2 = c2 | 0;
  let x3 = c3 | 0;
  let a = k0 | 0;
  let b = k1 | 0;
  for (let round = 0; round < 10; round++) {
    const next0 = mulHigh(M1, x2) ^ x1 ^ a;
    const next2 = mulHigh(M0, x0) ^ x3 ^ b;
    x1 = Math.imul(M1, x2);
    x3 = Math.imul(M0, x0);
    x0 = next0;
    x2 = next2;
    a = (a + W0) | 0;
    b = (b + W1) | 0;
  }
  out[0] = x0;
  out[1] = x1;
  out[2] = x2;
  out[3] = x3;
}

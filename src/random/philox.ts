/** @file Philox4x32-10 (Salmon et al. 2011): four random words from a counter and a key, with no state between calls. */

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** High 32 bits of the 64-bit product of two unsigned words. */
function mulHigh(a: number, b: number): number {
  const [ah, al] = [a >>> 16, a & 0xffff];
  const [bh, bl] = [b >>> 16, b & 0xffff];
  const low = al * bl;
  const mid = ah * bl + (low >>> 16);
  const mid2 = al * bh + (mid & 0xffff);
  return (ah * bh + Math.floor(mid / 65536) + (mid2 >>> 16)) >>> 0;
}

/** Fills `out` with the four words of this counter (c0, c1, c2, c3) and key (k0, k1). */
export function philox(
  c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, out: Uint32Array,
): void {
  let [x0, x1, x2, x3] = [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
  let [a, b] = [k0 >>> 0, k1 >>> 0];
  for (let round = 0; round < 10; round++) {
    const h0 = mulHigh(M0, x0);
    const l0 = Math.imul(M0, x0) >>> 0;
    const h1 = mulHigh(M1, x2);
    const l1 = Math.imul(M1, x2) >>> 0;
    x0 = (h1 ^ x1 ^ a) >>> 0;
    x2 = (h0 ^ x3 ^ b) >>> 0;
    x1 = l1;
    x3 = l0;
    a = (a + W0) >>> 0;
    b = (b + W1) >>> 0;
  }
  out[0] = x0;
  out[1] = x1;
  out[2] = x2;
  out[3] = x3;
}

/** @file 32-bit cyclic redundancy checks: CRC-32 (PNG, zip) and CRC-32C (TensorBoard records). */

/** A check function for a polynomial given in reversed bit order. */
function crc(polynomial: number): (bytes: Uint8Array) => number {
  const table = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    table[byte] = value;
  }
  return (bytes) => {
    let value = 0xffffffff;
    for (let i = 0; i < bytes.length; i++) value = table[(value ^ bytes[i]!) & 0xff]! ^ (value >>> 8);
    return (value ^ 0xffffffff) >>> 0;
  };
}

/** CRC-32 of IEEE 802.3. */
export const crc32 = crc(0xedb88320);

/** CRC-32C (Castagnoli). */
export const crc32c = crc(0x82f63b78);

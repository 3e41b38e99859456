/** @file Bytes as base64 text. */

/** Characters that one call of `fromCharCode` takes without running out of stack. */
const PART = 0x8000;

export function base64(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += PART) text += String.fromCharCode(...bytes.subarray(at, at + PART));
  return btoa(text);
}

/** @file Pointers of Git LFS: what stands in a file's place where a repository was cloned without its large files. */

/** A pointer is shorter than this (git-lfs, docs/spec.md). */
export const POINTER_BYTES = 1024;

const BEGINNING = 'version https://git-lfs.github.com/spec/';

/** @param bytes the beginning of a file, or all of it */
export const isPointer = (bytes: Uint8Array): boolean =>
  new TextDecoder('latin1').decode(bytes.subarray(0, BEGINNING.length)) === BEGINNING;

export const IS_POINTER = 'is a pointer of Git LFS, not the file itself';

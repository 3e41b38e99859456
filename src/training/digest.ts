/** @file SHA-256 of texts, tensors, files and folders. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { tensorBytes } from '../formats/safetensors.js';
import type { HostTensor } from '../graph/dtype.js';

export const hashText = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Of named tensors, in the order of their names: names, types, shapes and numbers. */
export function hashTensors(tensors: ReadonlyMap<string, HostTensor>): string {
  const hash = createHash('sha256');
  for (const name of [...tensors.keys()].toSorted()) {
    const t = tensors.get(name)!;
    hash.update(`${name} ${t.dtype} ${t.shape.join()}\n`).update(tensorBytes(t));
  }
  return hash.digest('hex');
}

/** Of a file's bytes; of a folder's files with their names, hidden ones left out. @throws the system's error if there is none */
export async function hashPath(path: string): Promise<string> {
  const hash = createHash('sha256');
  if ((await stat(path)).isDirectory()) {
    for (const name of (await readdir(path)).filter((n) => !n.startsWith('.')).toSorted()) {
      hash.update(`${name} ${await hashPath(join(path, name))}\n`);
    }
  } else {
    for await (const part of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(part as Buffer);
  }
  return hash.digest('hex');
}

/** @file A PyTorch file's tensors as a safetensors file in memory. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openWeights } from '../../src/formats/open-weights.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';

export async function writeFloat32(path: string): Promise<Buffer> {
  const source = await openWeights(path);
  const folder = await mkdtemp(join(tmpdir(), 'attune-safetensors-'));
  try {
    await writeSafetensors(join(folder, 'x.safetensors'), await readAll(source));
    return await readFile(join(folder, 'x.safetensors'));
  } finally {
    await source.close();
    await rm(folder, { recursive: true });
  }
}

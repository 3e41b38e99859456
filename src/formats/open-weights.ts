/** @file Opening a weight file of either kind, told apart by its first bytes. */
import { fileSource, readBytes } from './byte-source.js';
import { openSafetensors } from './safetensors.js';
import { openTorch } from './torch-zip.js';
import type { WeightSource } from './weights.js';

/** Opens a safetensors or PyTorch file, whatever its name ends in. */
export async function openWeights(path: string): Promise<WeightSource> {
  const source = await fileSource(path);
  try {
    // A safetensors file that began so would have a header of over 67 MB.
    const zip = source.size >= 4 && (await readBytes(source, 0, 4)).toString('latin1') === 'PK\x03\x04';
    return zip ? await openTorch(path) : await openSafetensors(path);
  } finally {
    await source.close();
  }
}

/** @file PyTorch files of either format: their tensors, nothing run. */
import { bufferSource, fileSource, readUpTo, type ByteSource } from './byte-source.js';
import { FormatError } from './errors.js';
import { isLegacyTorch, openTorchLegacy } from './torch-legacy.js';
import { openTorchZip } from './torch-zip.js';
import type { WeightSource } from './weights.js';

/** Whether a file that begins so is a PyTorch file. A safetensors file has its length first, and then a brace. */
export function isTorch(head: Buffer): boolean {
  return head.toString('latin1', 0, 4) === ZIP || (head[8] !== 0x7b && isLegacyTorch(head));
}

const ZIP = 'PK\x03\x04';

/** Opens a PyTorch file. Tensors in nested dictionaries are named `outer.inner`. */
export async function openTorch(path: string): Promise<WeightSource> {
  return fromSource(await fileSource(path));
}

/** Opens one that lies in memory; `name` is what messages call it. */
export async function torchFromBytes(bytes: Uint8Array, name: string): Promise<WeightSource> {
  return fromSource(bufferSource(bytes, name));
}

async function fromSource(source: ByteSource): Promise<WeightSource> {
  try {
    const head = await readUpTo(source, 0, 64);
    if (head.toString('latin1', 0, 4) === ZIP) return await openTorchZip(source);
    if (isTorch(head)) return await openTorchLegacy(source);
    throw new FormatError(source.where, 'is not a PyTorch file (truncated, or something else)',
      'Download it again, or load it in PyTorch and save its state_dict as safetensors.');
  } catch (error) {
    await source.close();
    throw error;
  }
}

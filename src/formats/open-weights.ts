/** @file Opening a weight file of either kind, told apart by its first bytes. */
import { deferred } from '../host/resources.js';
import { fileSource, readUpTo } from './byte-source.js';
import { openSafetensors } from './safetensors.js';
import { isTorch, openTorch } from './torch.js';
import type { WeightSource } from './weights.js';

/** Opens a safetensors or PyTorch file, whatever its name ends in. */
export async function openWeights(path: string): Promise<WeightSource> {
  const source = await fileSource(path);
  await using _ = deferred(() => source.close());
  return isTorch(await readUpTo(source, 0, 64)) ? await openTorch(path) : await openSafetensors(path);
}

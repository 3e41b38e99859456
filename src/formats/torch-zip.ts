/** @file PyTorch files since 1.6 (.pt, .pth, .ckpt, .bin): a zip archive with a pickle and raw storages. */
import { bytesPerElement } from '../graph/dtype.js';
import { readBytes, type ByteSource } from './byte-source.js';
import { FormatError } from './errors.js';
import { unpickle } from './pickle.js';
import { MAX_PICKLE_BYTES, missingStorage, torchHooks, torchWeights } from './torch-objects.js';
import type { WeightSource } from './weights.js';
import { locateEntry, readZipDirectory, type ZipEntry } from './zip.js';

/** Opens such a file. If it fails, the source is left open. */
export async function openTorchZip(source: ByteSource): Promise<WeightSource> {
  const { where } = source;
  const entries = await readZipDirectory(source);
  const pickles = [...entries.keys()].filter((name) => name.endsWith('/data.pkl'));
  const pickle = entries.get(pickles[0] ?? '');
  if (pickles.length !== 1 || !pickle || pickle.size > MAX_PICKLE_BYTES) {
    throw new FormatError(where, 'does not hold one data.pkl of reasonable size', 'It is not a file of torch.save.');
  }
  const archive = pickles[0]!.slice(0, -'data.pkl'.length);
  const content = async (entry: ZipEntry): Promise<Buffer> =>
    readBytes(source, await locateEntry(source, entry), entry.size);
  const order = entries.get(`${archive}byteorder`);
  if (order && order.size <= 16 && (await content(order)).toString('latin1') === 'big') {
    throw new FormatError(where, 'was written on a big-endian machine', 'Save it as safetensors there.');
  }
  const passed: string[] = [];
  const hooks = torchHooks(where, (key, dtype, numel) => {
    const entry = entries.get(`${archive}data/${key}`);
    if (!entry || numel * bytesPerElement(dtype) !== entry.size) throw missingStorage(where, key);
    return { dtype, numel, start: () => locateEntry(source, entry) };
  }, passed);
  return torchWeights(source, unpickle(await content(pickle), where, hooks).value, passed);
}

/**
 * @file PyTorch files before 1.6, and of `_use_new_zipfile_serialization=False` since: four pickles (magic number,
 * version, the machine, the object), a fifth with the keys of the storages, and these one after the other, each with
 * its element count before it.
 */
import { bytesPerElement } from '../graph/dtype.js';
import { readBytes, readUpTo, type ByteSource } from './byte-source.js';
import { FormatError } from './errors.js';
import { unpickle, type PickleHooks } from './pickle.js';
import { isSize, MAX_PICKLE_BYTES, missingStorage, torchHooks, torchWeights } from './torch-objects.js';
import type { FindStorage } from './torch-objects.js';
import { MAX_TENSORS, type WeightSource } from './weights.js';

/** The number that such a file begins with, as a binary pickle and as one of protocols 0 and 1 writes it. */
const MAGIC = [Buffer.from('6cfc9c46f9206aa85019', 'hex'), Buffer.from('119547037146038801333356')];
const VERSION = 1001;

/** Whether a file that begins so is such a file. */
export function isLegacyTorch(head: Buffer): boolean {
  return MAGIC.some((magic) => head.subarray(0, 64).includes(magic));
}

/** Bytes of the head that are read at first: enough but for checkpoints with the state of an optimiser. */
const HEAD_BYTES = 1 << 22;

const NOTHING: PickleHooks = { global: () => undefined, persistent: () => null };

/** Opens such a file. If it fails, the source is left open. */
export async function openTorchLegacy(source: ByteSource): Promise<WeightSource> {
  const head = await readUpTo(source, 0, HEAD_BYTES);
  try {
    return await fromHead(source, head);
  } catch (error) {
    if (head.length === source.size || !(error instanceof FormatError)) throw error;
    return fromHead(source, await readUpTo(source, 0, MAX_PICKLE_BYTES)); // the pickle was cut
  }
}

async function fromHead(source: ByteSource, head: Buffer): Promise<WeightSource> {
  const { where } = source;
  let at = 0;
  const next = (hooks = NOTHING): unknown => {
    const { value, end } = unpickle(head, where, hooks, at);
    at = end;
    return value;
  };
  next();
  if (next() !== VERSION) throw new FormatError(where, 'is a PyTorch file of an unknown version', REMEDY);
  const machine = next();
  if (machine instanceof Map && machine.get('little_endian') === false) {
    throw new FormatError(where, 'was written on a big-endian machine', 'Save it as safetensors there.');
  }
  const storages = new Map<string, Whole>();
  const find: FindStorage = (key, dtype, numel, view) => {
    const size = bytesPerElement(dtype);
    const whole = storages.get(key) ?? { numel, size };
    const part = view === null ? { offset: 0, numel } : partOf(view, numel);
    if (!part || whole.numel * whole.size !== numel * size || storages.size > MAX_TENSORS) {
      throw missingStorage(where, key);
    }
    storages.set(key, whole);
    return { dtype, numel: part.numel, start: async () => whole.start! + part.offset * size };
  };
  const passed: string[] = [];
  const root = next(torchHooks(where, find, passed));
  const keys = next();
  await place(source, at, Array.isArray(keys) ? keys : [], storages);
  return torchWeights(source, root, passed);
}

/** A storage: elements of `size` bytes. */
interface Whole {
  readonly numel: number;
  readonly size: number;
  /** Where its first byte lies. */
  start?: number;
}

/** Finds where each storage lies: they follow byte `at` in the order of `keys`. */
async function place(
  source: ByteSource, at: number, keys: readonly unknown[], storages: ReadonlyMap<string, Whole>,
): Promise<void> {
  let next = at;
  for (const key of keys) {
    const whole = typeof key === 'string' ? storages.get(key) : undefined;
    if (!whole || whole.start !== undefined) throw missingStorage(source.where, key);
    const count = Number((await readBytes(source, next, 8)).readBigInt64LE());
    whole.start = next + 8;
    next = whole.start + whole.numel * whole.size;
    if (count !== whole.numel || next > source.size) throw missingStorage(source.where, key);
  }
  const absent = [...storages].find(([, { start }]) => start === undefined);
  if (absent) throw missingStorage(source.where, absent[0]);
}

const REMEDY = 'Load it in PyTorch and save its state_dict as safetensors.';

/** A storage that is part of another: (key, offset, element count). */
function partOf(view: unknown, numel: number): { offset: number; numel: number } | undefined {
  const [, offset, count] = Array.isArray(view) ? (view as unknown[]) : [];
  return isSize(offset) && isSize(count) && offset + count <= numel ? { offset, numel: count } : undefined;
}

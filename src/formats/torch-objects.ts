/** @file What the pickle of a PyTorch file may hold: storages, tensors that are views of them, and dictionaries of these. */
import { arrayType, bytesPerElement, sizeOf } from '../graph/dtype.js';
import type { DType, HostTensor, TypedArray } from '../graph/dtype.js';
import type { ByteSource } from './byte-source.js';
import { FormatError, shown } from './errors.js';
import { Skipped, type PickleHooks } from './pickle.js';
import { converted, MAX_TENSORS, readTensor, tensorInfo } from './weights.js';
import type { ReadAs, TensorInfo, WeightSource } from './weights.js';

/** Longest pickle that is read: a hundred times the longest in use. */
export const MAX_PICKLE_BYTES = 1 << 25;

/** torch.<X>Storage classes by element type. */
const STORAGES = new Map<string, DType>([
  ['Float', 'float32'], ['Half', 'float16'], ['BFloat16', 'bfloat16'], ['Double', 'float64'], ['Long', 'int64'],
  ['Int', 'int32'], ['Char', 'int8'], ['Byte', 'uint8'], ['Bool', 'bool'],
]);

/** A class of storages. */
class StorageType {
  constructor(readonly dtype: DType) {}
}

/** `numel` elements somewhere in the file. */
export interface Storage {
  readonly dtype: DType;
  readonly numel: number;
  /** Where its first byte lies. A FormatError if the file does not have it whole. */
  start(): Promise<number>;
}

/** The storage behind a key of the pickle. */
export type FindStorage = (key: string, dtype: DType, numel: number, view: unknown) => Storage;

/** A view of a storage; strides and offset count elements. */
class TensorView implements TensorInfo {
  constructor(
    readonly storage: Storage, readonly offset: number, readonly shape: number[], readonly strides: number[],
  ) {}
  get dtype(): DType {
    return this.storage.dtype;
  }
}

/** A storage on the pickle's stack. */
class Held {
  constructor(readonly storage: Storage) {}
}

const DAMAGED = 'The file is damaged: download or export it again.';
/** Names are made of the keys of nested dictionaries, and each is kept. */
const LONGEST_NAME = 1024;
/** Keys of storages are numbers: a count, or an address in memory. */
const LONGEST_KEY = 64;
const MOST_PAIRS = 500_000;
/** Tensors may share a storage, but not so that a small file fills the memory. */
const MOST_SHARED = 16;

/** The stand-ins for what a state dict refers to; all else is passed over, and the first of it noted in `passed`. */
export function torchHooks(where: string, find: FindStorage, passed: string[]): PickleHooks {
  let pairs = 0;
  const dictionary = ([items]: readonly unknown[]): Map<unknown, unknown> => {
    const dict = new Map<unknown, unknown>();
    if (!Array.isArray(items)) return dict; // empty, or a default
    if ((pairs += items.length) > MOST_PAIRS) throw new FormatError(where, 'copies dictionaries many times', DAMAGED);
    for (const item of items) if (Array.isArray(item) && typeof item[0] === 'string') dict.set(item[0], item[1]);
    return dict;
  };
  const tensor = (args: readonly unknown[]): TensorView | Skipped => rebuild(args, where);
  const first = (args: readonly unknown[]): unknown => args[0];
  return {
    global(name) {
      switch (name) {
        case 'collections.OrderedDict': case 'collections.defaultdict': return dictionary;
        case 'torch._utils._rebuild_tensor': case 'torch._utils._rebuild_tensor_v2': return tensor;
        case 'torch._utils._rebuild_parameter': case 'torch._utils._rebuild_parameter_with_state': case 'torch.Size':
          return first;
      }
      const dtype = STORAGES.get(/^torch(?:\.cuda)?\.(\w+)Storage$/.exec(name)?.[1] ?? '');
      if (dtype) return new StorageType(dtype);
      if (passed.length === 0) passed.push(shown(name));
      return undefined;
    },
    /** ('storage', type, key, device, element count), before PyTorch 1.6 with a view after them. */
    persistent(id) {
      const [kind, type, key, , numel, view = null] = Array.isArray(id) ? (id as unknown[]) : [];
      if (kind === 'module' || type instanceof Skipped) return new Skipped('a storage');
      if (kind === 'storage' && type instanceof StorageType && typeof key === 'string' && key.length <= LONGEST_KEY &&
          isSize(numel)) {
        return new Held(find(key, type.dtype, numel, view));
      }
      throw missingStorage(where, key);
    },
  };
}

/** The error for a storage that is not there. `key` may be any object of the pickle, even one without end. */
export function missingStorage(where: string, key: unknown): FormatError {
  const name = typeof key === 'string' || typeof key === 'number' ? shown(String(key)) : '?';
  return new FormatError(where, `refers to the storage "${name}", which is missing or of another size`, DAMAGED);
}

/** torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …): a view that stays within its storage. */
function rebuild(
  [held, offset, shape, strides, , , metadata]: readonly unknown[], where: string,
): TensorView | Skipped {
  if (held instanceof Skipped) return held;
  // A negated or conjugated view, which no weight is.
  if (metadata instanceof Map && metadata.size > 0) return new Skipped('a tensor with metadata');
  if (held instanceof Held && isSize(offset) && isSizes(shape) && isSizes(strides) && shape.length === strides.length) {
    const { storage } = held;
    const count = sizeOf(shape);
    // A view larger than its storage repeats elements: no weight needs that, and a hostile one fills the memory.
    if (count === 0 || (count <= storage.numel && offset + extent(shape, strides) <= storage.numel)) {
      return new TensorView(storage, offset, shape, strides);
    }
  }
  throw new FormatError(where, 'describes a tensor that lies outside its storage', DAMAGED);
}

/** Elements from the first of a view to its last. */
function extent(shape: readonly number[], strides: readonly number[]): number {
  return shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, 1);
}

export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= 32 && value.every(isSize);
}

/**
 * The tensors of what a pickle built, by name: `outer.inner` in nested dictionaries; checkpoints of trainers hide
 * theirs under `state_dict`. Closing the source is left to the caller if this fails.
 */
export function torchWeights(source: ByteSource, root: unknown, passed: readonly string[]): WeightSource {
  const { where } = source;
  const tensors = collect(root, where);
  if (tensors.size === 0) {
    const what = passed.length > 0 ? `, but Python objects such as "${passed[0]}", which are not loaded` : '';
    throw new FormatError(where, `holds no named tensors${what}`,
      'Only tensors are read from PyTorch files: save model.state_dict(), best as safetensors.');
  }
  let bytes = 0;
  for (const view of tensors.values()) bytes += extent(view.shape, view.strides) * bytesPerElement(view.dtype);
  if (bytes > MOST_SHARED * source.size) {
    throw new FormatError(where, 'describes the same numbers as many tensors over', 'Save it as safetensors.');
  }
  const step = root instanceof Map ? (root.get('global_step') as unknown) : undefined;
  return {
    where,
    metadata: typeof step === 'number' ? { global_step: String(step) } : {},
    tensors,
    read: (name, as = 'stored') => readView(source, tensorInfo(where, tensors, name), as),
    close: () => source.close(),
  };
}

function collect(root: unknown, where: string): Map<string, TensorView> {
  const result = new Map<string, TensorView>();
  const visited = new Set<unknown>(); // a dictionary that contains itself, or is shared a thousandfold, ends here
  const visit = (dict: Map<unknown, unknown>, prefix: string, depth: number): void => {
    if (visited.has(dict) || depth > 16) return;
    visited.add(dict);
    for (const [key, value] of dict) {
      if (!(value instanceof Map || value instanceof TensorView)) continue;
      const name = prefix + String(key);
      if (name.length > LONGEST_NAME) throw new FormatError(where, `holds "${shown(name)}", an absurd name`, DAMAGED);
      if (value instanceof Map) visit(value, `${name}.`, depth + 1);
      else {
        if (result.has(name) || result.size === MAX_TENSORS) {
          const problem = result.has(name) ? `holds "${shown(name)}" twice` : `holds more than ${MAX_TENSORS} tensors`;
          throw new FormatError(where, problem, 'Save its state_dict as safetensors.');
        }
        result.set(name, value);
      }
    }
  };
  if (root instanceof Map) {
    const inner: unknown = root.get('state_dict');
    visit(inner instanceof Map ? inner : root, '', 0);
  }
  return result;
}

async function readView(source: ByteSource, view: TensorView, as: ReadAs): Promise<HostTensor> {
  const { storage, offset, shape, strides } = view;
  const info = { dtype: view.dtype, shape };
  const at = (await storage.start()) + offset * bytesPerElement(view.dtype);
  if (isRowMajor(shape, strides)) return readTensor(source, at, info, as);
  const span = await readTensor(source, at, { dtype: view.dtype, shape: [extent(shape, strides)] }, 'stored');
  return converted({ ...info, data: gather(span.data, view) }, as);
}

/** Whether elements lie one after the other; strides of axes of length 1 do not matter, nor any if there is none. */
function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** A strided view, from its first element on, copied to row-major order. */
function gather(from: TypedArray, { dtype, shape, strides }: TensorView): TypedArray {
  const out = new (arrayType(dtype))(sizeOf(shape));
  const index = shape.map(() => 0);
  for (let i = 0, at = 0; i < out.length; i++) {
    out[i] = from[at]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      at -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return out;
}

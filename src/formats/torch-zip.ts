/** @file PyTorch files (.pt, .pth, .ckpt, .bin: a zip with a pickle and raw storages): their tensors, nothing run. */
import { arrayType, bytesPerElement, sizeOf } from '../graph/dtype.js';
import type { DType, HostTensor, TypedArray } from '../graph/dtype.js';
import { bufferSource, fileSource, readBytes, type ByteSource } from './byte-source.js';
import { FormatError, shown } from './errors.js';
import { unpickle, type Callable } from './pickle.js';
import { converted, readTensor, tensorInfo, type ReadAs, type TensorInfo, type WeightSource } from './weights.js';
import { readZipDirectory, type ZipEntry } from './zip.js';

/** torch.<X>Storage classes by element type. */
const STORAGES = new Map<string, DType>([
  ['Float', 'float32'], ['Half', 'float16'], ['BFloat16', 'bfloat16'], ['Double', 'float64'], ['Long', 'int64'],
  ['Int', 'int32'], ['Char', 'int8'], ['Byte', 'uint8'], ['Bool', 'bool'],
]);

class StorageType {
  constructor(readonly dtype: DType) {}
}

/** `numel` elements in an entry of the archive. */
class Storage {
  constructor(readonly dtype: DType, readonly entry: ZipEntry, readonly numel: number) {}
}

/** A view of a storage; strides and offset count elements. */
class TensorView implements TensorInfo {
  constructor(
    readonly storage: Storage, readonly offset: number, readonly shape: number[], readonly strides: number[],
  ) {}
  get dtype(): DType {
    return this.storage.dtype;
  }
}

const MAX_PICKLE_BYTES = 100_000_000;

/** Opens a PyTorch file of format 1.6 or later. Tensors in nested dictionaries are named `outer.inner`. */
export async function openTorch(path: string): Promise<WeightSource> {
  return fromSource(await fileSource(path));
}

/** Opens such a file that lies in memory; `name` is what messages call it. */
export async function torchFromBytes(bytes: Uint8Array, name: string): Promise<WeightSource> {
  return fromSource(bufferSource(bytes, name));
}

async function fromSource(source: ByteSource): Promise<WeightSource> {
  const { where } = source;
  try {
    const tensors = await readViews(source);
    return {
      where,
      metadata: {},
      tensors,
      read: (name, as = 'stored') => readView(source, tensorInfo(where, tensors, name), as),
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function readViews(source: ByteSource): Promise<Map<string, TensorView>> {
  const { where } = source;
  const magic = source.size < 4 ? '' : (await readBytes(source, 0, 4)).toString('latin1');
  if (magic !== 'PK\x03\x04') {
    throw new FormatError(where, 'is not a PyTorch zip file (older than PyTorch 1.6, truncated, or something else)',
      'Load it in PyTorch and save its state_dict as safetensors.');
  }
  const entries = await readZipDirectory(source);
  const pickles = [...entries.keys()].filter((name) => name.endsWith('/data.pkl'));
  const pickle = entries.get(pickles[0] ?? '');
  if (pickles.length !== 1 || !pickle || pickle.size > MAX_PICKLE_BYTES) {
    throw new FormatError(where, 'does not hold one data.pkl of reasonable size', 'It is not a file of torch.save.');
  }
  const archive = pickles[0]!.slice(0, -'data.pkl'.length);
  await refuseBigEndian(source, entries.get(`${archive}byteorder`));
  const root = unpickle(await readBytes(source, pickle.offset, pickle.size), where, {
    global: (name) => globals(name, where),
    persistent: (id) => storage(id, entries, archive, where),
  });
  const tensors = collect(root, where);
  if (tensors.size > 0) return tensors;
  throw new FormatError(where, 'holds no named tensors', 'It is not a state dict: save model.state_dict().');
}

async function refuseBigEndian(source: ByteSource, entry: ZipEntry | undefined): Promise<void> {
  if (!entry || entry.size > 16) return;
  if ((await readBytes(source, entry.offset, entry.size)).toString('latin1') !== 'big') return;
  throw new FormatError(source.where, 'was written on a big-endian machine', 'Save it as safetensors there.');
}

/** All that a state dict may refer to. */
function globals(name: string, where: string): Callable | StorageType | undefined {
  switch (name) {
    case 'collections.OrderedDict': return () => new Map();
    case 'torch._utils._rebuild_tensor_v2': return (args) => rebuild(args, where);
    case 'torch._utils._rebuild_parameter': return (args) => args[0];
  }
  const dtype = STORAGES.get(/^torch\.(\w+)Storage$/.exec(name)?.[1] ?? '');
  return dtype && new StorageType(dtype);
}

/** The storage behind ('storage', type, key, device, element count). */
function storage(id: unknown, entries: Map<string, ZipEntry>, archive: string, where: string): Storage {
  const [kind, type, key, , numel] = Array.isArray(id) ? id : [];
  const entry = entries.get(`${archive}data/${key}`);
  if (kind === 'storage' && type instanceof StorageType && entry && isSize(numel) &&
      numel * bytesPerElement(type.dtype) === entry.size) {
    return new Storage(type.dtype, entry, numel);
  }
  throw new FormatError(where, `refers to the storage "${shown(String(key))}", which is missing or of another size`,
    'The file is damaged: download or export it again.');
}

/** torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …): a view that stays within its storage. */
function rebuild([store, offset, shape, strides]: readonly unknown[], where: string): TensorView {
  if (store instanceof Storage && isSize(offset) && isSizes(shape) && isSizes(strides) &&
      shape.length === strides.length) {
    const count = sizeOf(shape);
    const last = offset + shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, 0);
    // A view larger than its storage repeats elements: no weight needs that, and a hostile one fills the memory.
    if (count === 0 || (count <= store.numel && last < store.numel)) {
      return new TensorView(store, offset, shape, strides);
    }
  }
  throw new FormatError(where, 'describes a tensor that lies outside its storage',
    'The file is damaged: download or export it again.');
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= 32 && value.every(isSize);
}

/** The tensors of nested dictionaries by dotted name; checkpoints of trainers hide theirs under `state_dict`. */
function collect(root: unknown, where: string): Map<string, TensorView> {
  const result = new Map<string, TensorView>();
  const visited = new Set<unknown>(); // a dictionary that contains itself, or is shared a thousandfold, ends here
  const visit = (dict: Map<unknown, unknown>, prefix: string, depth: number): void => {
    if (visited.has(dict) || depth > 16) return;
    visited.add(dict);
    for (const [key, value] of dict) {
      const name = prefix + String(key);
      if (value instanceof Map) visit(value, `${name}.`, depth + 1);
      else if (value instanceof TensorView) {
        if (result.has(name)) throw new FormatError(where, `holds "${shown(name)}" twice`, 'Save it as safetensors.');
        result.set(name, value);
      }
    }
  };
  if (root instanceof Map) {
    const inner = root.get('state_dict');
    visit(inner instanceof Map ? inner : root, '', 0);
  }
  return result;
}

async function readView(source: ByteSource, view: TensorView, as: ReadAs): Promise<HostTensor> {
  const { storage: store, offset, shape, strides } = view;
  const info = { dtype: view.dtype, shape };
  if (isRowMajor(shape, strides)) {
    return readTensor(source, store.entry.offset + offset * bytesPerElement(view.dtype), info, as);
  }
  const whole = await readTensor(source, store.entry.offset, { dtype: view.dtype, shape: [store.numel] }, 'stored');
  return converted({ ...info, data: gather(whole.data, view) }, as);
}

/** Whether elements lie one after the other; strides of axes of length 1 do not matter. */
function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** A strided view copied to row-major order. */
function gather(from: TypedArray, { dtype, offset, shape, strides }: TensorView): TypedArray {
  const out = new (arrayType(dtype))(sizeOf(shape));
  const index = shape.map(() => 0);
  for (let i = 0, at = offset; i < out.length; i++) {
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

/** @file Helpers of the format tests: scratch folders, damaged copies, and writers of small zip and pickle files. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { host, sizeOf, type HostTensor } from '../../src/graph/dtype.js';

/** A folder that is removed after the test file. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'attune-formats-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A small generator (mulberry32), so that fuzzing repeats. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** float32 values that depend on the seed. */
export function tensor(shape: readonly number[], seed = 1): HostTensor {
  const next = random(seed);
  return host(Float32Array.from({ length: sizeOf(shape) }, () => next() * 2 - 1), shape);
}

/** Plain numbers and names, for comparison. */
export function plain({ dtype, shape, data }: HostTensor): { dtype: string; shape: number[]; data: unknown[] } {
  return { dtype, shape: [...shape], data: Array.from(data as Float32Array) };
}

/** Parses every truncation and many random corruptions: each must succeed or throw an Error that names the file. */
export async function expectSturdy(
  bytes: Uint8Array, name: string, parse: (bytes: Uint8Array, name: string) => Promise<unknown>, flips = 400,
): Promise<void> {
  const next = random(7);
  const attempt = async (damaged: Uint8Array) => {
    try {
      await parse(damaged, name);
      return true;
    } catch (error) {
      expect((error as Error).message).toContain(name);
      expect((error as Error).name).toBe('FormatError');
      return false;
    }
  };
  expect(await attempt(bytes)).toBe(true);
  for (let length = 0; length < bytes.length; length += bytes.length > 2000 ? 1 + Math.floor(next() * 7) : 1) {
    expect(await attempt(bytes.slice(0, length)), `truncated to ${length} bytes`).toBe(false);
  }
  for (let i = 0; i < flips; i++) {
    const damaged = bytes.slice();
    for (let n = 1 + Math.floor(next() * 3); n > 0; n--) {
      damaged[Math.floor(next() * damaged.length)] = next() < 0.5 ? Math.floor(next() * 256) : next() < 0.5 ? 0 : 255;
    }
    await attempt(damaged);
  }
}

/** A zip archive of stored entries; with `zip64` the sizes and offsets stand in the 64-bit fields. */
export function zip(entries: Readonly<Record<string, Uint8Array>>, zip64 = false): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, data] of Object.entries(entries)) {
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt32LE(data.length, 18);
    local.writeUInt32LE(data.length, 22);
    local.writeUInt16LE(name.length, 26);
    local.writeUInt16LE(4, 28); // padding, as PyTorch aligns its tensors
    const header = Buffer.concat([local, Buffer.from(name), Buffer.from('FB\0\0')]);
    const extra = zip64 ? Buffer.alloc(28) : Buffer.alloc(0);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50);
    entry.writeUInt32LE(zip64 ? 0xffffffff : data.length, 20);
    entry.writeUInt32LE(zip64 ? 0xffffffff : data.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt16LE(extra.length, 30);
    entry.writeUInt32LE(zip64 ? 0xffffffff : at, 42);
    if (zip64) {
      extra.writeUInt16LE(1);
      extra.writeUInt16LE(24, 2);
      extra.writeBigUInt64LE(BigInt(data.length), 4);
      extra.writeBigUInt64LE(BigInt(data.length), 12);
      extra.writeBigUInt64LE(BigInt(at), 20);
    }
    directory.push(entry, Buffer.from(name), extra);
    parts.push(header, Buffer.from(data));
    at += header.length + data.length;
  }
  const list = Buffer.concat(directory);
  const count = Object.keys(entries).length;
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(zip64 ? 0xffff : count, 8);
  end.writeUInt16LE(zip64 ? 0xffff : count, 10);
  end.writeUInt32LE(zip64 ? 0xffffffff : list.length, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : at, 16);
  if (!zip64) return Buffer.concat([...parts, list, end]);
  const end64 = Buffer.alloc(56 + 20);
  end64.writeUInt32LE(0x06064b50);
  end64.writeBigUInt64LE(44n, 4);
  end64.writeBigUInt64LE(BigInt(count), 24);
  end64.writeBigUInt64LE(BigInt(count), 32);
  end64.writeBigUInt64LE(BigInt(list.length), 40);
  end64.writeBigUInt64LE(BigInt(at), 48);
  end64.writeUInt32LE(0x07064b50, 56);
  end64.writeBigUInt64LE(BigInt(at + list.length), 64);
  return Buffer.concat([...parts, list, end64, end]);
}

/** Python values for `pickle`: these stand for a global name, a call, a persistent id and a tuple. */
export type Py = null | boolean | number | string | readonly Py[] | Map<Py, Py> | PyObject;
type PyObject = { global: string } | { call: Py; args: readonly Py[] } | { persistent: Py } | { tuple: readonly Py[] };

/** A pickle of protocol 2, as torch.save writes it. */
export function pickle(value: Py): Buffer {
  const out: Buffer[] = [Buffer.from([0x80, 2])];
  const op = (...bytes: number[]) => out.push(Buffer.from(bytes));
  const int32 = (n: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(n);
    return bytes;
  };
  const put = (v: Py): void => {
    if (v === null) op(0x4e);
    else if (typeof v === 'boolean') op(v ? 0x88 : 0x89);
    else if (typeof v === 'number') {
      if (v >= 0 && v < 256) op(0x4b, v);
      else out.push(Buffer.from('J'), int32(v));
    } else if (typeof v === 'string') out.push(Buffer.from('X'), int32(Buffer.byteLength(v)), Buffer.from(v));
    else if (v instanceof Map) {
      op(0x7d, 0x71, 0, 0x28); // EMPTY_DICT, BINPUT, MARK
      for (const [key, item] of v) {
        put(key);
        put(item);
      }
      op(0x75); // SETITEMS
    } else if (Array.isArray(v)) {
      op(0x5d, 0x28);
      v.forEach(put);
      op(0x65);
    } else {
      const object = v as PyObject;
      if ('global' in object) {
        const dot = object.global.lastIndexOf('.');
        out.push(Buffer.from(`c${object.global.slice(0, dot)}\n${object.global.slice(dot + 1)}\n`));
      } else if ('tuple' in object) {
        op(0x28);
        object.tuple.forEach(put);
        op(0x74);
      } else if ('persistent' in object) {
        put(object.persistent);
        op(0x51);
      } else {
        put(object.call);
        put({ tuple: object.args });
        op(0x52);
      }
    }
  };
  put(value);
  op(0x2e);
  return Buffer.concat(out);
}

const bytesOf = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const tuple = (...items: Py[]): Py => ({ tuple: items });

/** A call of a global. */
export const call = (global: string, args: Py[]): Py => ({ call: { global }, args });
export const NO_HOOKS = call('collections.OrderedDict', []);

/** What torch.save writes for a tensor. */
export function tensorPy(key: string, type: string, numel: number, offset: number, size: number[], stride: number[]): Py {
  const store = { persistent: tuple('storage', { global: `torch.${type}Storage` }, key, 'cuda:0', numel) };
  return call('torch._utils._rebuild_tensor_v2', [store, offset, tuple(...size), tuple(...stride), false, NO_HOOKS]);
}

/** A file as torch.save lays it out. */
export function torchFile(root: Py, storages: Record<string, ArrayBufferView>, zip64 = false): Buffer {
  const data = Object.entries(storages).map(([key, values]) => [`archive/data/${key}`, bytesOf(values)]);
  return zip({
    'archive/data.pkl': pickle(root), 'archive/byteorder': Buffer.from('little'), ...Object.fromEntries(data),
    'archive/version': Buffer.from('3\n'),
  }, zip64);
}

const STORAGE_NAMES: Readonly<Record<string, string>> = { float32: 'Float', float16: 'Half', int64: 'Long' };

/** A state dict as torch.save lays it out, each tensor with a storage of its own. */
export function stateFile(tensors: Iterable<readonly [string, HostTensor]>): Buffer {
  const state = new Map<Py, Py>();
  const storages: Record<string, ArrayBufferView> = {};
  for (const [name, { data, dtype, shape }] of tensors) {
    const key = String(state.size);
    const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
    state.set(name, tensorPy(key, STORAGE_NAMES[dtype]!, data.length, 0, [...shape], strides));
    storages[key] = data;
  }
  return torchFile(state, storages);
}

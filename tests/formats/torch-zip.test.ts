import { describe, expect, it } from 'vitest';
import { torchFromBytes } from '../../src/formats/torch-zip.js';
import { readAll } from '../../src/formats/weights.js';
import { expectSturdy, pickle, plain, zip, type Py } from './helpers.js';

const bytesOf = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
const tuple = (...items: Py[]): Py => ({ tuple: items });

const call = (global: string, args: Py[]): Py => ({ call: { global }, args });
const NO_HOOKS = call('collections.OrderedDict', []);

/** What torch.save writes for a tensor. */
function tensorPy(key: string, type: string, numel: number, offset: number, size: number[], stride: number[]): Py {
  const store = { persistent: tuple('storage', { global: `torch.${type}Storage` }, key, 'cuda:0', numel) };
  return call('torch._utils._rebuild_tensor_v2', [store, offset, tuple(...size), tuple(...stride), false, NO_HOOKS]);
}

/** A file as torch.save lays it out. */
function torchFile(root: Py, storages: Record<string, ArrayBufferView>, zip64 = false): Buffer {
  const data = Object.entries(storages).map(([key, values]) => [`archive/data/${key}`, bytesOf(values)]);
  return zip({
    'archive/data.pkl': pickle(root), 'archive/byteorder': Buffer.from('little'), ...Object.fromEntries(data),
    'archive/version': Buffer.from('3\n'),
  }, zip64);
}

const STORAGES = {
  0: Float32Array.of(0, 1, 2, 3, 4, 5), 1: Uint16Array.of(0x3c00, 0xc000), 2: BigInt64Array.of(7n, -7n),
};
const STATE = new Map<Py, Py>([
  ['plain', tensorPy('0', 'Float', 6, 0, [2, 3], [3, 1])],
  ['transposed', tensorPy('0', 'Float', 6, 0, [3, 2], [1, 3])],
  ['part', tensorPy('0', 'Float', 6, 1, [2, 2], [3, 1])],
  ['tail', tensorPy('0', 'Float', 6, 4, [1, 2], [99, 1])],
  ['half', call('torch._utils._rebuild_parameter', [tensorPy('1', 'Half', 2, 0, [2], [1]), true, NO_HOOKS])],
  ['long', tensorPy('2', 'Long', 2, 1, [], [])],
  ['note', 'a text is no tensor'],
]);
const FILE = torchFile(STATE, STORAGES);

const open = async (bytes: Uint8Array, name = 'x.pth') => torchFromBytes(bytes, name);

describe('PyTorch files', () => {
  it.each([false, true])('reads tensors, views and parameters (zip64: %s)', async (zip64) => {
    const source = await open(torchFile(STATE, STORAGES, zip64));
    const all = await readAll(source);
    const read = Object.fromEntries([...all].map(([name, tensor]) => [name, plain(tensor)]));
    expect(read).toEqual({
      plain: { dtype: 'float32', shape: [2, 3], data: [0, 1, 2, 3, 4, 5] },
      transposed: { dtype: 'float32', shape: [3, 2], data: [0, 3, 1, 4, 2, 5] },
      part: { dtype: 'float32', shape: [2, 2], data: [1, 2, 4, 5] },
      tail: { dtype: 'float32', shape: [1, 2], data: [4, 5] },
      half: { dtype: 'float16', shape: [2], data: [0x3c00, 0xc000] },
      long: { dtype: 'int64', shape: [], data: [-7n] },
    });
    expect(plain(await source.read('half', 'float32'))).toEqual({ dtype: 'float32', shape: [2], data: [1, -2] });
  });

  it('finds the state dict of a checkpoint, and names nested tensors with dots', async () => {
    const one = tensorPy('0', 'Float', 6, 0, [6], [1]);
    const nested = new Map<Py, Py>([['model', new Map<Py, Py>([['w', one]])], ['epoch', 3]]);
    expect([...(await open(torchFile(nested, STORAGES))).tensors.keys()]).toEqual(['model.w']);
    const checkpoint = new Map<Py, Py>([['state_dict', nested], ['optimizer', new Map<Py, Py>([[0, one]])]]);
    expect([...(await open(torchFile(checkpoint, STORAGES))).tensors.keys()]).toEqual(['model.w']);
  });
});

describe('a hostile or malformed PyTorch file is refused', () => {
  const state = (value: Py) => torchFile(new Map<Py, Py>([['w', value]]), STORAGES);
  it.each<[string, Buffer, RegExp]>([
    ['code', state({ call: { global: 'os.system' }, args: ['echo no'] }), /refers to the Python object "os.system"/],
    ['eval', state({ call: { global: 'builtins.eval' }, args: ['1'] }), /"builtins.eval", which is not loaded/],
    ['an unknown class', state({ global: 'numpy.core.multiarray.scalar' }), /numpy.core.multiarray.*safetensors/],
    ['a storage type that is not supported', state(tensorPy('0', 'Short', 6, 0, [6], [1])), /torch.ShortStorage/],
    ['a call of a text', state({ call: 'print', args: [] }), /calls what is no function/],
    ['a view beyond its storage', state(tensorPy('0', 'Float', 6, 1, [6], [1])), /outside its storage/],
    ['a stride beyond its storage', state(tensorPy('0', 'Float', 6, 0, [2, 2], [5, 1])), /outside its storage/],
    ['a view that repeats', state(tensorPy('0', 'Float', 6, 0, [65536, 65536], [0, 0])), /outside its storage/],
    ['a negative stride', state(tensorPy('0', 'Float', 6, 5, [6], [-1])), /outside its storage/],
    ['a storage of another size', state(tensorPy('0', 'Double', 6, 0, [6], [1])), /storage "0", which is missing or/],
    ['a storage that is a path', state(tensorPy('../../etc/passwd', 'Float', 6, 0, [6], [1])), /which is missing or/],
    ['no storage', state({ persistent: 'x' }), /which is missing or/],
    ['a list at the root', torchFile([1], STORAGES), /holds no named tensors/],
    ['the old format', Buffer.from([0x80, 2, 0x8a, 10]), /older than PyTorch 1.6/],
    ['a text', Buffer.from('hello'), /is not a PyTorch zip file/],
    ['another zip', zip({ 'a.txt': Buffer.from('a') }), /does not hold one data.pkl/],
    ['two pickles', zip({ 'a/data.pkl': pickle(new Map()), 'b/data.pkl': pickle(new Map()) }), /does not hold one/],
  ])('%s', async (_, bytes, reason) => {
    await expect(open(bytes)).rejects.toThrow(reason);
  });

  it('a big-endian file', async () => {
    const bytes = zip({ 'a/data.pkl': pickle(STATE), 'a/byteorder': Buffer.from('big') });
    await expect(open(bytes)).rejects.toThrow(/big-endian/);
  });

  it('compressed entries', async () => {
    const bytes = Buffer.from(FILE);
    const central = bytes.indexOf(Buffer.from([0x50, 0x4b, 1, 2]));
    bytes.writeUInt16LE(8, central + 10);
    await expect(open(bytes)).rejects.toThrow(/data.pkl": is compressed/);
  });

  it('a dictionary that contains itself ends', async () => {
    // EMPTY_DICT, BINPUT 0, BINUNICODE "a", BINGET 0, SETITEM, STOP
    const loop = Buffer.from([0x80, 2, 0x7d, 0x71, 0, 0x58, 1, 0, 0, 0, 0x61, 0x68, 0, 0x73, 0x2e]);
    await expect(open(zip({ 'a/data.pkl': loop }))).rejects.toThrow(/holds no named tensors/);
  });

  it('dictionaries that multiply by reference end', async () => {
    // d0 = {}; d(n+1) = {'a': dn, 'b': dn}, 200 times: 2^200 paths.
    const parts = [Buffer.from([0x80, 2, 0x7d, 0x71, 0])];
    for (let n = 0; n < 200; n++) {
      const [a, b] = [0x61, 0x62].map((letter) => [0x58, 1, 0, 0, 0, letter, 0x68, n]) as [number[], number[]];
      parts.push(Buffer.from([0x7d, 0x28, ...a, ...b, 0x75, 0x71, n + 1]));
    }
    parts.push(Buffer.from([0x2e]));
    await expect(open(zip({ 'a/data.pkl': Buffer.concat(parts) }))).rejects.toThrow(/holds no named tensors/);
  });

  it.each(['\x80\x09.', '\x80\x02(', '\x80\x02.', '\x80\x02R.', '\x80\x02b.', '\x80\x02u.', '\x80\x02h\x05.',
    '\x80\x02X\xff\xff\xff\xff', '\x80\x02}(]Nu.', '\x80\x02\x8a\xff', '\x80\x02ios\nsystem\n.', '\x80\x02(0.',
  ])('pickle %j', async (text) => {
    await expect(open(zip({ 'a/data.pkl': Buffer.from(text, 'latin1') }))).rejects.toThrow(/^x.pth: /);
  });

  it('survives every truncation and random corruption', async () => {
    const parse = async (bytes: Uint8Array, name: string) => readAll(await torchFromBytes(bytes, name));
    await expectSturdy(FILE, 'fuzzed', parse, 3000);
    await expectSturdy(torchFile(STATE, STORAGES, true), 'fuzzed', parse, 1500);
  });
});

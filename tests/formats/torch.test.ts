import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openWeights } from '../../src/formats/open-weights.js';
import { openSafetensors } from '../../src/formats/safetensors.js';
import { torchFromBytes } from '../../src/formats/torch.js';
import { readAll } from '../../src/formats/weights.js';
import { call, expectSturdy, NO_HOOKS, pickle, plain, tensorPy, torchFile, zip, type Py } from './helpers.js';

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

/** Begins an entry of the directory. */
const CENTRAL = Buffer.from([0x50, 0x4b, 1, 2]);

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

describe('what torch.save writes', () => {
  const fixtures = new URL('../fixtures/', import.meta.url).pathname;
  const files = readdirSync(fixtures).filter((name) => /^torch_(?!expected)/.test(name));

  it.each(files)('%s', async (name) => {
    const expected = await openSafetensors(join(fixtures, 'torch_expected.safetensors'));
    const source = await openWeights(join(fixtures, name));
    expect([...source.tensors.keys()].toSorted()).toEqual([...expected.tensors.keys()].toSorted());
    for (const key of expected.tensors.keys()) {
      expect(plain(await source.read(key)), key).toEqual(plain(await expected.read(key)));
    }
    if (name.includes('lightning')) expect(source.metadata).toEqual({ global_step: '875000' });
    await Promise.all([source.close(), expected.close()]);
  });

  it.each(['torch_legacy1.pt', 'torch_legacy2.pt', 'torch_lightning.ckpt', 'torch_lightning_legacy.ckpt'])(
    '%s survives every truncation and random corruption', async (name) => {
      const parse = async (bytes: Uint8Array, where: string) => readAll(await torchFromBytes(bytes, where));
      await expectSturdy(readFileSync(join(fixtures, name)), 'fuzzed', parse, 300);
    });

  it('is read beyond the part that is looked at first', async () => {
    const bytes = readFileSync(join(fixtures, 'torch_legacy2.pt'));
    const [before, after] = [bytes.indexOf('plain'), 'plain'.length];
    // POP of a long text in front of the first key's operation: BINUNICODE, five bytes before its text.
    const long = Buffer.concat([Buffer.from([0x58, 0, 0, 0x60, 0]), Buffer.alloc(0x600000, 'x'), Buffer.from([0x30])]);
    const grown = Buffer.concat([bytes.subarray(0, before - 5), long, bytes.subarray(before - 5)]);
    const source = await torchFromBytes(grown, 'grown.pt');
    expect(plain(await source.read('plain')).data).toHaveLength(6);
    expect(after).toBe(5);
  });
});

describe('a hostile or malformed PyTorch file is refused', () => {
  const state = (value: Py) => torchFile(new Map<Py, Py>([['w', value]]), STORAGES);
  it.each<[string, Buffer, RegExp]>([
    ['code', state({ call: { global: 'os.system' }, args: ['echo no'] }), /no named tensors, but Python objects such as "os.system"/],
    ['eval', state({ call: { global: 'builtins.eval' }, args: ['1'] }), /such as "builtins.eval", which are not loaded/],
    ['an unknown class', state({ global: 'numpy.core.multiarray.scalar' }), /"numpy.core.multiarray.scalar".*safetensors/],
    ['a storage type that is not supported', state(tensorPy('0', 'Short', 6, 0, [6], [1])), /"torch.ShortStorage"/],
    ['a call of a text', state({ call: 'print', args: [] }), /calls what is no function/],
    ['a view beyond its storage', state(tensorPy('0', 'Float', 6, 1, [6], [1])), /outside its storage/],
    ['a stride beyond its storage', state(tensorPy('0', 'Float', 6, 0, [2, 2], [5, 1])), /outside its storage/],
    ['a view that repeats', state(tensorPy('0', 'Float', 6, 0, [65536, 65536], [0, 0])), /outside its storage/],
    ['a negative stride', state(tensorPy('0', 'Float', 6, 5, [6], [-1])), /outside its storage/],
    ['a storage of another size', state(tensorPy('0', 'Double', 6, 0, [6], [1])), /storage "0", which is missing or/],
    ['a storage that is a path', state(tensorPy('../../etc/passwd', 'Float', 6, 0, [6], [1])), /which is missing or/],
    ['no storage', state({ persistent: 'x' }), /which is missing or/],
    ['a list at the root', torchFile([1], STORAGES), /holds no named tensors/],
    ['the head of an old file', Buffer.from([0x80, 2, 0x8a, 10]), /is not a PyTorch file/],
    ['a text', Buffer.from('hello'), /is not a PyTorch file/],
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
    bytes.writeUInt16LE(8, bytes.indexOf(CENTRAL) + 10);
    await expect(open(bytes)).rejects.toThrow(/data.pkl": is compressed/);
  });

  it('a storage whose own header has another name than the directory', async () => {
    const bytes = Buffer.from(FILE);
    bytes[bytes.indexOf('archive/data/1') + 13] = 0x30;
    const source = await open(bytes);
    await expect(source.read('half')).rejects.toThrow(/data\/1" has another name there/);
  });

  it('an endless list of entries', async () => {
    const bytes = Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(2 ** 22 + 100), FILE.subarray(-22)]);
    bytes.writeUInt32LE(2 ** 22 + 1, bytes.length - 10);
    bytes.writeUInt32LE(0, bytes.length - 6);
    await expect(open(bytes)).rejects.toThrow(/its directory of \d+ entries/);
  });

  /** A pickle of protocol 2 in a zip file. */
  const raw = (...parts: (Buffer | string)[]) => zip({ 'a/data.pkl': Buffer.concat([
    Buffer.from([0x80, 2]), ...parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)),
  ]) });
  /** l0 = [1]; l(n+1) = [ln, ln]: 2^33 numbers, in memo 33. */
  const laugh = `]q\0K\x01a0${Array.from({ length: 33 }, (_, n) => {
    const [from, to] = [n, n + 1].map((m) => String.fromCharCode(m));
    return `]q${to}h${from}ah${from}a0`;
  }).join('')}`;
  const LAUGHING = `h${String.fromCharCode(33)}`;

  it.each<[string, Buffer, RegExp]>([
    ['the key of a storage', raw(laugh, '(X\x07\0\0\0storagectorch\nFloatStorage\n', LAUGHING, 'X\x03\0\0\0cpuK\x04tQ.'),
      /refers to the storage "\?"/],
    ['a persistent id', raw(laugh, LAUGHING, 'Q.'), /refers to the storage/],
    ['the name of an object', raw(laugh, 'X\x01\0\0\0a', LAUGHING, '\x93.'), /names an object by no text/],
    ['a key', raw(laugh, '}', LAUGHING, 'Ns.'), /holds no named tensors/],
    ['a shape', raw(laugh, 'ctorch._utils\n_rebuild_tensor_v2\n(NK\0', LAUGHING, LAUGHING, 'tR.'), /outside its storage/],
    ['a long name, recalled again and again', raw('X', Buffer.from([0, 0, 16, 0]), Buffer.alloc(2 ** 20, 'a'), 'q\0',
      Buffer.alloc(300_000, 'h\0h\0\x930', 'latin1'), '.'), /names an object by an endless text/],
    ['pairs', raw(laugh, 'ccollections\nOrderedDict\n(', LAUGHING, 'tR.'), /holds no named tensors/],
  ])('lists that double, as %s', async (_, bytes, reason) => {
    await expect(open(bytes)).rejects.toThrow(reason);
  }, 5000);

  it.each<[string, Buffer, RegExp]>([
    ['operations', raw(Buffer.alloc(2_000_001, 'N')), /more than 2000000 operations/],
    ['lists', raw(Buffer.alloc(500_001, ']')), /makes more than 500000 objects/],
    ['memoized dictionaries', raw(Buffer.alloc(2_000_000, '}\x940', 'latin1')), /makes more than 500000 objects/],
    ['copies of a list', raw(']q\0(', Buffer.alloc(20_000, 'N'), 'e0', Buffer.alloc(2_000_000,
      'ccollections\nOrderedDict\n(h\0tR0'), 'N.'), /copies dictionaries many times/],
    ['marks', raw(Buffer.alloc(1_500_000, '('), Buffer.alloc(400_000, 't'), 'N.'), /holds no named tensors/],
  ])('too many %s', async (_, bytes, reason) => {
    await expect(open(bytes)).rejects.toThrow(reason);
  }, 10_000);

  it('names that grow with the depth of dictionaries', async () => {
    const key = 'k'.repeat(200);
    let nested: Py = tensorPy('0', 'Float', 6, 0, [6], [1]);
    for (let depth = 0; depth < 8; depth++) nested = new Map<Py, Py>([[key, nested]]);
    await expect(open(torchFile(nested, STORAGES))).rejects.toThrow(/an absurd name/);
  });

  it('many tensors of the same numbers', async () => {
    const big = { 0: new Float32Array(1000) };
    const names = Array.from({ length: 2000 }, (_, i): [Py, Py] => [`w${i}`, tensorPy('0', 'Float', 1000, 0, [1000], [1])]);
    // Each costs 120 bytes of pickle and 4,000 bytes of numbers.
    await expect(open(torchFile(new Map(names), big))).rejects.toThrow(/the same numbers as many tensors over/);
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

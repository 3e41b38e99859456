import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { host, type HostTensor } from '../../src/graph/dtype.js';
import { openSafetensors, safetensorsFromBytes, writeSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import { expectSturdy, plain, random, scratch, tensor } from './helpers.js';

const folder = scratch();
const FIXTURES = new URL('../fixtures', import.meta.url).pathname;

/** Written by the reference library: safetensors 0.8.0, `safetensors.serialize(TENSORS, {'note': 'hé "q"'})`. */
const REFERENCE = Buffer.from([
  'gAIAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJub3RlIjoiaMOpIFwicVwiIn0sImlkcyI6eyJkdHlwZSI6Ikk2NCIsInNoYXBlIjpbMSwzXSwi',
  'ZGF0YV9vZmZzZXRzIjpbMCwyNF19LCJkb3VibGUiOnsiZHR5cGUiOiJGNjQiLCJzaGFwZSI6W10sImRhdGFfb2Zmc2V0cyI6WzI0LDMyXX0s',
  'Im5vbmUiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzAsNF0sImRhdGFfb2Zmc2V0cyI6WzMyLDMyXX0sInoud2VpZ2h0Ijp7ImR0eXBlIjoi',
  'RjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlszMiw0OF19LCJpMzIiOnsiZHR5cGUiOiJJMzIiLCJzaGFwZSI6WzFdLCJkYXRh',
  'X29mZnNldHMiOls0OCw1Ml19LCJiLmJyYWluIjp7ImR0eXBlIjoiQkYxNiIsInNoYXBlIjpbMl0sImRhdGFfb2Zmc2V0cyI6WzUyLDU2XX0s',
  'ImEuaGFsZiI6eyJkdHlwZSI6IkYxNiIsInNoYXBlIjpbM10sImRhdGFfb2Zmc2V0cyI6WzU2LDYyXX0sImk4Ijp7ImR0eXBlIjoiSTgiLCJz',
  'aGFwZSI6WzJdLCJkYXRhX29mZnNldHMiOls2Miw2NF19LCJ1OCI6eyJkdHlwZSI6IlU4Iiwic2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRzIjpb',
  'NjQsNjVdfSwiZmxhZyBcIsO8XCIiOnsiZHR5cGUiOiJCT09MIiwic2hhcGUiOlsyXSwiZGF0YV9vZmZzZXRzIjpbNjUsNjddfX0gICAgICAg',
  'AQAAAAAAAAD+/////////wEAAAAAACAAGC1EVPshCUAAAMA/AAAAwAAAQEAI5Twf+f///4A/AMAAPAC4/3v/Av8BAA==',
].join(''), 'base64');

const TENSORS: [string, HostTensor][] = [
  ['z.weight', host(Float32Array.of(1.5, -2, 3, 4e-20), [2, 2])],
  ['a.half', host(Uint16Array.of(0x3c00, 0xb800, 0x7bff), [3], 'float16')],
  ['b.brain', host(Uint16Array.of(0x3f80, 0xc000), [2], 'bfloat16')],
  ['ids', host(BigInt64Array.of(1n, -2n, 2n ** 53n + 1n), [1, 3], 'int64')],
  ['double', host(Float64Array.of(Math.PI), [], 'float64')],
  ['i8', host(Int8Array.of(-1, 2), [2], 'int8')],
  ['u8', host(Uint8Array.of(255), [1], 'uint8')],
  ['flag "ü"', host(Uint8Array.of(1, 0), [2], 'bool')],
  ['i32', host(Int32Array.of(-7), [1], 'int32')],
  ['none', host(new Float32Array(0), [0, 4])],
];

/** A file from a header given as text or value. */
function file(header: unknown, data: Uint8Array = new Uint8Array(0)): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

const F32 = (begin: number, end: number, shape = [(end - begin) / 4]) => (
  { dtype: 'F32', shape, data_offsets: [begin, end] }
);

describe('safetensors', () => {
  it('reads what the reference library writes', async () => {
    const source = await safetensorsFromBytes(REFERENCE, 'reference');
    expect(source.metadata).toEqual({ note: 'hé "q"' });
    expect(source.tensors.size).toBe(TENSORS.length);
    for (const [name, expected] of TENSORS) expect(plain(await source.read(name))).toEqual(plain(expected));
  });

  it('writes the very bytes of the reference library', async () => {
    const path = join(folder, 'same.safetensors');
    await writeSafetensors(path, TENSORS, { note: 'hé "q"' });
    expect(readFileSync(path).equals(REFERENCE)).toBe(true);
  });

  it('widens float types on request and leaves integers', async () => {
    const path = join(folder, 'widen.safetensors');
    await writeSafetensors(path, TENSORS);
    const source = await openSafetensors(path);
    const seen: number[] = [];
    const all = await readAll(source, 'float32', (done, total) => seen.push(done / total));
    await source.close();
    expect(all.get('a.half')).toEqual({ dtype: 'float32', shape: [3], data: Float32Array.of(1, -0.5, 65504) });
    expect(all.get('b.brain')).toEqual({ dtype: 'float32', shape: [2], data: Float32Array.of(1, -2) });
    expect(all.get('double')).toEqual({ dtype: 'float32', shape: [], data: Float32Array.of(Math.fround(Math.PI)) });
    expect(all.get('ids')!.dtype).toBe('int64');
    expect(seen.at(-1)).toBe(1);
    expect([...seen].sort((a, b) => a - b)).toEqual(seen);
  });

  it('widens 8-bit floats as PyTorch does, all values', async () => {
    const values = await openSafetensors(join(FIXTURES, 'float8.safetensors'));
    for (const format of ['e4m3fn', 'e5m2']) {
      expect(values.tensors.get(format)!.dtype).toBe('float16');
      const [read, wide] = [await values.read(format, 'float32'), await values.read(`${format}.float32`)];
      expect(plain(read)).toEqual(plain(wide)); // NaN too
    }
    await values.close();
  });

  it.each(['float16', 'bfloat16'] as const)('widens %s in place, all values', async (dtype) => {
    const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const path = join(folder, `${dtype}.safetensors`);
    await writeSafetensors(path, [['all', host(words, [256, 256], dtype)]]);
    const source = await openSafetensors(path);
    const { data } = await source.read('all', 'float32');
    await source.close();
    const bits = new Uint32Array(data.buffer);
    for (const word of [0, 1, 0x3ff, 0x400, 0x3c00, 0x7bff, 0x7c00, 0x8000, 0x8001, 0xbc00, 0xfc00, 65535]) {
      const e = (word >> 10) & 31;
      const half = (word & 0x8000 ? -1 : 1) * (e === 0 ? (word & 1023) * 2 ** -24
        : e === 31 ? (word & 1023 ? NaN : Infinity) : (1 + (word & 1023) / 1024) * 2 ** (e - 15));
      if (dtype === 'float16') expect(data[word]).toBe(half);
      else expect(bits[word]).toBe((word << 16) >>> 0);
    }
  });

  it('needs no more memory than the float32 weights when it widens', async () => {
    const path = join(folder, 'large.safetensors');
    const one = host(new Uint16Array(1 << 20).fill(0x3c00), [1 << 20], 'float16');
    await writeSafetensors(path, Array.from({ length: 16 }, (_, i) => [`w${i}`, one] as const));
    const source = await openSafetensors(path);
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    const all = await readAll(source, 'float32', () => {
      peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
    });
    await source.close();
    expect(all.size).toBe(16);
    expect(peak).toBeLessThan(1.1 * 16 * 4 * (1 << 20));
  });

  it('writes tensors that are made when their turn comes, and refuses a wrong size', async () => {
    const path = join(folder, 'lazy.safetensors');
    const made: string[] = [];
    const lazy = (name: string, size: number) => [name, {
      dtype: 'float32' as const, shape: [3], load: async () => (made.push(name), tensor([size])),
    }] as const;
    await writeSafetensors(path, [lazy('b', 3), lazy('a', 3)]);
    expect(made).toEqual(['a', 'b']);
    const source = await openSafetensors(path);
    expect(plain(await source.read('b'))).toEqual(plain(tensor([3])));
    await source.close();
    const bad = join(folder, 'bad.safetensors');
    await expect(writeSafetensors(bad, [lazy('a', 2)])).rejects.toThrow(/bad.safetensors.*"a" has 8 bytes, not 12/);
    expect(existsSync(bad)).toBe(false);
    expect(readdirSync(folder).some((name) => name.endsWith('.tmp'))).toBe(false);
    await expect(writeSafetensors(bad, [['a', tensor([1])], ['a', tensor([1])]])).rejects.toThrow(/second tensor/);
    await expect(writeSafetensors(bad, [['__metadata__', tensor([1])]])).rejects.toThrow(/__metadata__/);
  });

  it('keeps names that JavaScript objects would reorder or lose', async () => {
    const path = join(folder, 'names.safetensors');
    const names = ['10', '9', '__proto__', 'constructor', '../../etc/passwd', 'a b'];
    await writeSafetensors(path, names.map((name, i) => [name, tensor([1], i)]), { constructor: 'c' });
    const source = await openSafetensors(path);
    expect([...source.tensors.keys()].sort()).toEqual([...names].sort());
    for (const [i, name] of names.entries()) expect(plain(await source.read(name))).toEqual(plain(tensor([1], i)));
    await expect(source.read('toString')).rejects.toThrow(/names.safetensors: has no tensor "toString"/);
    await source.close();
  });
});

describe('a malformed safetensors file is refused with the reason', () => {
  const eight = new Uint8Array(8);
  const deep = `{"a":${'['.repeat(100_000)}`;
  it.each<[string, Buffer, RegExp]>([
    ['empty', Buffer.alloc(0), /0 bytes long/],
    ['header beyond the file', Buffer.concat([Buffer.from([255, 0, 0, 0, 0, 0, 0, 0]), eight]), /header of 255 bytes/],
    ['header of 2^63 bytes', Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 128]), eight]), /header of 92233720/],
    ['not JSON', file('{"a"'), /header/],
    ['an array', file([1, 2]), /does not begin with "{"/],
    ['leading space before {, then garbage', file(' x{}'), /does not begin/],
    ['text after the object', file('{} {}'), /after its closing/],
    ['not UTF-8', file('{"a":1}').map((b) => (b === 97 ? 0xff : b)) as Buffer, /not UTF-8/],
    ['a byte order mark', file('\ufeff{}'), /does not begin/],
    ['nested too deeply', file(deep), /nested too deeply/],
    ['an entry that is a number', file({ a: 1 }), /tensor "a".*lacks a valid dtype/],
    ['no dtype', file({ a: { shape: [], data_offsets: [0, 0] } }), /lacks a valid dtype/],
    ['negative size', file({ a: { ...F32(0, 4), shape: [-1] } }, eight), /lacks a valid dtype, shape/],
    ['fractional size', file({ a: { ...F32(0, 4), shape: [0.5] } }, eight), /lacks a valid dtype, shape/],
    ['absurd shape', file({ a: F32(0, 8, [2 ** 50, 2 ** 50, 2 ** 50]) }, eight), /has shape/],
    ['absurd shape with a zero', file({ a: F32(0, 8, Array(32).fill(2 ** 52).concat(0)) }, eight), /lacks a valid/],
    ['too many axes', file({ a: F32(0, 4, Array(1000).fill(1)) }, eight), /lacks a valid/],
    ['size mismatch', file({ a: F32(0, 8, [3]) }, eight), /12 bytes, but takes 8/],
    ['offsets beyond the file', file({ a: F32(0, 12) }, eight), /bytes 0 to 12 of 8/],
    ['offsets reversed', file({ a: F32(8, 0, [0]) }, eight), /bytes 8 to 0/],
    ['overlap', file({ a: F32(0, 8), b: F32(4, 8) }, eight), /tensor "b": overlaps/],
    ['gap', file({ a: F32(0, 4), b: F32(8, 12) }, new Uint8Array(12)), /tensor "b": leaves a gap of 4/],
    ['bytes left over', file({ a: F32(0, 4) }, eight), /8 bytes of data, but its tensors describe 4/],
    ['float4', file({ a: { dtype: 'F4', shape: [16], data_offsets: [0, 8] } }, eight), /"a".*F4.*fp16/],
    ['float8 in need of a factor', file({
      a: { dtype: 'F8_E4M3', shape: [4], data_offsets: [0, 4] }, 'a.scale_weight': F32(4, 8),
    }, eight), /"a.scale_weight": scales 8-bit weights.*fp16/],
    ['a header longer than any', file(' '.repeat(2 ** 24 + 8)), /has a header of 16777224 bytes/],
    ['more tensors than any', file(Object.fromEntries(Array.from({ length: 50_001 }, (_, i) => [i, F32(0, 0)]))),
      /more than 50000 tensors/],
    ['an endless shape', file({ a: F32(0, 0, Array<number>(20_000).fill(1)) }), /entry of more than 10000 items/],
    ['endless metadata', file({ __metadata__: Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [i, ''])) }),
      /entry of more than 10000 items/],
    ['duplicate tensor', file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' +
      '"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', eight), /key "a" twice/],
    ['duplicate field', file('{"a":{"dtype":"I32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', eight), /twice/],
    ['duplicate metadata', file('{"__metadata__":{"k":"1","k":"2"}}'), /twice.*"__metadata__"/],
    ['metadata that is no text', file({ __metadata__: { a: 1 } }), /not a map of strings/],
    ['metadata that is a list', file({ __metadata__: ['a'] }), /not a map of strings/],
  ])('%s', async (_, bytes, reason) => {
    const path = join(folder, 'malformed.safetensors');
    writeFileSync(path, bytes);
    const error = await openSafetensors(path).then(() => undefined, (e: Error) => e);
    expect(error?.message).toMatch(reason);
    expect(error?.message).toContain(path);
    expect(error?.name).toBe('FormatError');
    expect(error!.message.length).toBeLessThan(600);
  });

  it('a pipe, which must not be opened, and a device', async () => {
    const pipe = join(folder, 'pipe.safetensors');
    execFileSync('mkfifo', [pipe]);
    await expect(openSafetensors(pipe)).rejects.toThrow(/pipe.safetensors: is not a file/);
    await expect(openSafetensors('/dev/zero')).rejects.toThrow(/zero: is not a file/);
  });

  it('missing file, folder', async () => {
    await expect(openSafetensors(join(folder, 'absent'))).rejects.toThrow(/absent: cannot be opened \(ENOENT\)/);
    await expect(openSafetensors(folder)).rejects.toThrow(/is not a file/);
  });

  it('survives every truncation and random corruption', async () => {
    const parse = async (bytes: Uint8Array, name: string) => readAll(await safetensorsFromBytes(bytes, name));
    await expectSturdy(REFERENCE, 'fuzzed', parse, 2000);
  });

  it('a header of many empty entries fails at the first', async () => {
    const next = random(1);
    const text = `{${Array.from({ length: 1e5 }, (_, i) => `"${i}${next()}":{}`).join(',')}}`;
    await expect(safetensorsFromBytes(file(text), 'wide')).rejects.toThrow(/wide: tensor "0.*lacks a valid dtype/);
  });
});

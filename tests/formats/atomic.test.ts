import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { appendWhole, writeAtomic } from '../../src/formats/atomic.js';
import { tellFullDisk } from '../../src/formats/disk-full.js';
import { limitDisk } from '../small-disk.mjs';
import { scratch } from './helpers.js';

const folder = scratch();

it('writes text, bytes and pieces, making the folder', async () => {
  const path = join(folder, 'a', 'b', 'file');
  await writeAtomic(path, 'text');
  expect(readFileSync(path, 'utf8')).toBe('text');
  await writeAtomic(path, Uint8Array.of(1, 2));
  expect([...readFileSync(path)]).toEqual([1, 2]);
  await writeAtomic(path, async (sink) => {
    await sink(Uint8Array.of(3));
    await sink(Uint8Array.of(4, 5));
  });
  expect([...readFileSync(path)]).toEqual([3, 4, 5]);
  expect(readdirSync(join(folder, 'a', 'b'))).toEqual(['file']);
});

it('leaves the old file and nothing else when writing fails', async () => {
  const inner = join(folder, 'failing');
  mkdirSync(inner);
  writeFileSync(join(inner, 'file'), 'old');
  await expect(writeAtomic(join(inner, 'file'), async (sink) => {
    await sink(Buffer.from('half of the ne'));
    throw new Error('disk on fire');
  })).rejects.toThrow('disk on fire');
  expect(readFileSync(join(inner, 'file'), 'utf8')).toBe('old');
  expect(readdirSync(inner)).toEqual(['file']);
});

describe('on a full disk', () => {
  const root = join(folder, 'small');
  mkdirSync(root);
  writeFileSync(join(root, 'old'), '0123456789');
  const left = (): Record<string, string> =>
    Object.fromEntries(readdirSync(root).map((name) => [name, readFileSync(join(root, name), 'utf8')]));
  beforeAll(() => limitDisk(root, 25));

  it.each([
    ['whole files', () => writeAtomic(join(root, 'old'), 'a'.repeat(1234)), /old: the disk is full \(1\.2 kB to write, [\d.]+ [kMGT]?B free\)/],
    ['pieces', () => writeAtomic(join(root, 'new'), async (sink) => {
      for (let i = 0; i < 3; i++) await sink(Buffer.from('piece '));
    }, 18), /new: the disk is full \(18 B to write, .*What was saved before is untouched.*--resume/],
    ['pieces of unknown size', () => writeAtomic(join(root, 'new'), (sink) => sink(Buffer.alloc(99))), /new: the disk is full \([\d.]+ [kMGT]?B free\)/],
    ['lines', () => appendWhole(join(root, 'old'), 'b'.repeat(16)), /old: the disk is full \(16 B to write/],
  ])('%s: the old file stays, nothing else, and the message says so', async (_, write, message) => {
    await expect(write()).rejects.toThrow(message);
    expect(left()).toEqual({ old: '0123456789' });
  });

  it('takes what fits', async () => {
    await appendWhole(join(root, 'old'), 'b'.repeat(15));
    expect(left()).toEqual({ old: `0123456789${'b'.repeat(15)}` });
  });

  it('tells other errors as they are', async () => {
    await expect(tellFullDisk('x', 1, () => Promise.reject(new Error('on fire')))).rejects.toThrow(/^on fire$/);
    const quota = Object.assign(new Error('EDQUOT: disk quota exceeded'), { code: 'EDQUOT' });
    await expect(tellFullDisk(join(root, 'x'), 2_500_000, () => Promise.reject(quota))).rejects.toThrow(/x: the disk is full \(2\.5 MB to write/);
  });
});

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { writeAtomic } from '../../src/formats/atomic.js';
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

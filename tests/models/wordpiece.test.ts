/** @file BERT's tokenizer against the ids of transformers 5.23.0, and its vocabulary file. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadWordPiece } from '../../src/loading/wordpiece-file.js';
import { createWordPiece } from '../../src/models/wordpiece.js';

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

interface Cases {
  length: number;
  words: number;
  cases: { text: string; ids: number[] }[];
}

it('gives the ids that transformers gives', async () => {
  const { length, words, cases } = JSON.parse(await readFile(fixture('wordpiece_cases.json'), 'utf8')) as Cases;
  const tokenizer = await loadWordPiece(fixture('wordpiece.txt'), length, ['[DEC]', '[ENC]']);
  expect(tokenizer.size).toBe(words);
  expect(cases.length).toBeGreaterThan(30);
  for (const { text, ids } of cases) {
    const encoded = tokenizer.encode(text);
    expect(Array.from(encoded.ids.subarray(0, encoded.count)), JSON.stringify(text)).toEqual(ids);
    expect(encoded.ids).toHaveLength(length);
    expect(encoded.ids.subarray(encoded.count).every((id) => id === 0)).toBe(true);
  }
});

it('takes the longest piece, and a word as unknown if its end has none', () => {
  const tokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'un', 'una', '##able', '##ble', '##a'];
  const encode = (text: string): number[] => {
    const { ids, count } = createWordPiece(tokens, 8).encode(text);
    return Array.from(ids.subarray(1, count - 1));
  };
  expect(encode('unable')).toEqual([6, 8]); // "una", though "un" with "##able" would do as well
  expect(encode('unaaa una')).toEqual([6, 9, 9, 6]);
  expect(encode('unab able')).toEqual([1, 1]);
  expect(() => encode('x'.repeat(8193))).toThrow(/8193 characters.*at most 8192/);
});

describe('a vocabulary file', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'attune-wordpiece-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('may have the line ends of Windows', async () => {
    const path = join(folder, 'windows.txt');
    await writeFile(path, '[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\ncat\r\n');
    const tokenizer = await loadWordPiece(path, 5);
    expect(tokenizer.size).toBe(6);
    expect(Array.from(tokenizer.encode('Cat').ids)).toEqual([2, 5, 3, 0, 0]);
  });

  it('is named where it is wrong', async () => {
    const path = join(folder, 'wrong.txt');
    await writeFile(path, '[PAD]\n[UNK]\n[CLS]\ncat\n');
    await expect(loadWordPiece(path, 35)).rejects.toThrow(
      `${path}: is no vocabulary of BERT: it has no token [SEP]. Give the vocab.txt of bert-base-uncased.`);
    await writeFile(path, '\n'.repeat((1 << 24) + 1));
    await expect(loadWordPiece(path, 35)).rejects.toThrow(/wrong\.txt: is too long/);
    await expect(loadWordPiece(join(folder, 'none.txt'), 35)).rejects.toThrow('none.txt');
  });
});

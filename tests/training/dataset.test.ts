/** @file Folders of pictures as people have them: Hugging Face's metadata, macOS's hidden files, other formats. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { writePng } from '../../src/formats/image.js';
import { host } from '../../src/graph/dtype.js';
import { loadDataset, loadPictures } from '../../src/training/pretrain/dataset.js';

const root = await mkdtemp(join(tmpdir(), 'attune-dataset-'));
afterAll(() => rm(root, { recursive: true, force: true }));

/** A folder with pictures and other files. */
async function folder(name: string, pictures: readonly string[], files: Readonly<Record<string, string>>): Promise<string> {
  const path = join(root, name);
  await mkdir(path);
  for (const file of pictures) await writePng(join(path, file), host(new Float32Array(192).fill(0.5), [3, 8, 8]));
  for (const [file, text] of Object.entries(files)) await writeFile(join(path, file), text);
  return path;
}

test('metadata.jsonl may be that of an image folder of datasets', async () => {
  const path = await folder('hf', ['a.png', 'b.png', 'c.png'], {
    'metadata.jsonl': '\ufeff{"file_name": "a.png", "text": "a red apple"}\r\n{"file_name": "b.png", "caption": ["a cat", "cat"]}\n'
      + '{"file": "c.png", "captions": ["ours"], "prompt": "kept"}\n',
  });
  const { records } = await loadDataset(path, 8);
  expect(records.map(({ file, captions }) => [file, captions])).toEqual([
    ['a.png', ['a red apple']], ['b.png', ['a cat', 'cat']], ['c.png', ['ours']],
  ]);
  expect(records[2]!.prompt).toBe('kept');
});

test.each([
  ['{"file_name": "a.png"}', /metadata\.jsonl:1: has no caption/],
  ['\n{"text": "a cat"}', /metadata\.jsonl:2: file: /],
  ['{"file_name": "a.png", "text": 3}', /metadata\.jsonl:1: captions: /],
  ['{"file_name": "a.png", "text": ""}', /metadata\.jsonl:1: captions\.0: /],
  ['[1]', /metadata\.jsonl:1: the line: /],
  ['{"file_name"', /metadata\.jsonl:1:13: not JSON/],
])('the metadata %j is refused: %s', async (text, message) => {
  const path = await folder(`bad-${Math.random()}`, ['a.png'], { 'metadata.jsonl': text });
  await expect(loadDataset(path, 8)).rejects.toThrow(message);
});

test('hidden files and other formats are passed over and told', async () => {
  const path = await folder('mixed', ['a.png'], {
    'a.txt': '\ufeffa red apple\r\n', '._a.png': 'Mac OS X', '.DS_Store': '', 'b.gif': 'GIF89a', 'c.bmp': 'BM', '.a.txt': '',
  });
  await mkdir(join(path, 'more'));
  const told: string[] = [];
  const { records } = await loadDataset(path, 8, { onWarning: (text) => told.push(text) });
  expect(records).toEqual([{ file: 'a.png', captions: ['a red apple'] }]);
  expect(told).toEqual([`${path}: passed over, not being png, jpg or webp: .DS_Store, ._a.png, .a.txt and 3 more`]);
  expect((await loadPictures([path], 8, { onWarning: (text) => told.push(text) })).count).toBe(1);
  expect(told).toHaveLength(2);
});

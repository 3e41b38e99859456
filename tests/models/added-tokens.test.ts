/** @file Tokens beside the vocabulary: ids equal to those of transformers, in each of the files that may name them. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../src/loading/tokenizer-files.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));

interface Layout {
  file: string;
  content: Record<string, unknown>;
  cases: [text: string, ids: number[]][];
}
const layouts = JSON.parse(await readFile(join(fixtures, 'tokenizer_added.json'), 'utf8')) as Layout[];

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'attune-added-'));
});
afterAll(() => rm(root, { recursive: true }));

/** A folder of the small tokenizer with other content in one file; its `tokenizer.json` only where that is the one. */
async function folderWith(file: string, content: object): Promise<string> {
  const folder = await mkdtemp(join(root, 'tokenizer-'));
  await cp(join(fixtures, 'pipeline_sd1', 'tokenizer'), folder, { recursive: true });
  const single = join(folder, 'tokenizer.json');
  const whole = JSON.parse(await readFile(single, 'utf8')) as object;
  await rm(single);
  await writeFile(join(folder, file), JSON.stringify(file === 'tokenizer.json' ? { ...whole, ...content } : content));
  return folder;
}

describe.each(layouts)('tokens named in $file', ({ file, content, cases }) => {
  test('are found in texts as transformers finds them', async () => {
    const tokenizer = await loadTokenizer(await folderWith(file, content));
    for (const [text, ids] of cases) expect(Array.from(tokenizer.encode(text).ids), text).toEqual(ids);
    expect(tokenizer.largest).toBe(575);
  });
});

test('what is cut off is told with them', async () => {
  const { file, content } = layouts[0]!;
  const tokenizer = await loadTokenizer(await folderWith(file, content));
  expect(tokenizer.encode(`${'cat '.repeat(75)}<cat-toy> dog`).truncated).toBe('<cat-toy> dog');
});

test.each([
  ['added_tokens.json', { '<x>': 3 }, /id 3 is given to/],
  ['added_tokens.json', { '<x>': 'y' }, /added_tokens\.json: has the added token/],
  ['added_tokens.json', { '<x>': -1 }, /added_tokens\.json: has the added token/],
  ['tokenizer_config.json', { added_tokens_decoder: { 566: { content: '' } } }, /tokenizer_config\.json: has the added token/],
  ['tokenizer.json', { added_tokens: [7] }, /tokenizer\.json: has an added token that is no object/],
])('wrong ones in %s are refused: %j', async (file, content, message) => {
  await expect(loadTokenizer(await folderWith(file, content))).rejects.toThrow(message);
});

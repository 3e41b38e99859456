/**
 * @file Trains the bundled model's tokenizer on the captions of a built data set: `node build-tokenizer.mjs [folder]`
 * after `npm run build` in the repository and `node build.mjs [folder]` here.
 */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { END_OF_TEXT, START_OF_TEXT, trainBpe } from '../../dist/models/bpe-train.js';
import { createTokenizer } from '../../dist/models/tokenizer.js';

/** Large enough that the words of the names are mostly one token each. */
const VOCABULARY_SIZE = 3072;
/** The longest caption takes 14 ids. */
const MAX_LENGTH = 16;

const dataFolder = process.argv[2] ?? fileURLToPath(new URL('out', import.meta.url));
const tokenizerFolder = fileURLToPath(new URL('../emoji/tokenizer', import.meta.url));

const metadata = await readFile(join(dataFolder, 'metadata.jsonl'), 'utf8');
const rows = metadata.trim().split('\n').map((row) => JSON.parse(row));
const captions = rows.flatMap((row) => row.captions);
const { vocab, merges } = trainBpe(captions, VOCABULARY_SIZE);
const tokenizer = createTokenizer({
  vocab, merges, maxLength: MAX_LENGTH, bos: START_OF_TEXT, eos: END_OF_TEXT, pad: END_OF_TEXT,
});
const cut = captions.find((caption) => tokenizer.encode(caption).truncated !== null);
if (cut !== undefined) throw new Error(`"${cut}" does not fit in ${MAX_LENGTH} tokens; raise MAX_LENGTH`);

const special = { bos_token: START_OF_TEXT, eos_token: END_OF_TEXT, pad_token: END_OF_TEXT, unk_token: END_OF_TEXT };
const config = { ...special, add_prefix_space: false, do_lower_case: true, errors: 'replace',
  model_max_length: MAX_LENGTH, tokenizer_class: 'CLIPTokenizer' };
const files = {
  'vocab.json': `${JSON.stringify(Object.fromEntries(vocab))}\n`,
  'merges.txt': ['#version: 0.2', ...merges.map((pair) => pair.join(' ')), ''].join('\n'),
  'tokenizer_config.json': `${JSON.stringify(config, null, 2)}\n`,
  'special_tokens_map.json': `${JSON.stringify(special, null, 2)}\n`,
};
await mkdir(tokenizerFolder, { recursive: true });
for (const [name, text] of Object.entries(files)) await writeFile(join(tokenizerFolder, name), text);
process.stdout.write(`${vocab.size} tokens, ${merges.length} merges in ${tokenizerFolder}\n`);

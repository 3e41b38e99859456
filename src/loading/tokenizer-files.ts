/** @file Reads a CLIP tokenizer from a folder: `vocab.json` and `merges.txt`, or else `tokenizer.json`; tokens beside them. */
import { join } from 'node:path';
import { exists } from '../formats/exists.js';
import { fileSource, readBytes } from '../formats/byte-source.js';
import { FormatError, shown } from '../formats/errors.js';
import { isObject } from '../formats/json.js';
import { readJsonFile } from '../formats/json-file.js';
import { deferred } from '../host/resources.js';
import type { AddedToken } from '../models/added-tokens.js';
import { END_OF_WORD } from '../models/bpe.js';
import { createTokenizer } from '../models/tokenizer.js';
import type { Tokenizer, TokenizerData, TokenizerOverrides } from '../models/tokenizer.js';

type Json = Record<string, unknown>;
type Vocabulary = Pick<TokenizerData, 'vocab' | 'merges'>;

/** CLIP's own merges.txt has half a megabyte. */
const MERGES_BYTES = 1 << 24;
/** The embedding table of a model with more tokens, or more positions, would not be CLIP's. */
const MAX_TOKENS = 1 << 20;
const MAX_LENGTH = 1 << 12;

const REMEDY = 'Restore the tokenizer folder from the model it belongs to.';

/** What CLIP calls its special tokens and how long a prompt is where no file says so. */
const CLIP_DEFAULTS = {
  bos_token: '<|startoftext|>',
  eos_token: '<|endoftext|>',
  pad_token: '<|endoftext|>',
  model_max_length: 77,
};

/**
 * Loads the tokenizer of a diffusers or transformers folder. The special tokens and the length come from
 * `tokenizer_config.json` and `special_tokens_map.json`: SD 1.x pads with the end token, SD 2.x with "!".
 *
 * @throws FormatError that names the file at fault
 */
export async function loadTokenizer(folder: string, overrides: TokenizerOverrides = {}): Promise<Tokenizer> {
  const vocabulary = await readVocabulary(folder);
  const { named, ...settings } = { ...(await readSettings(folder)), ...overrides };
  const added = await readAdded(folder, vocabulary.vocab, named);
  try {
    return createTokenizer({ ...vocabulary, ...settings, added });
  } catch (cause) {
    const problem = `holds tokenizer files that disagree: ${shown((cause as Error).message)}`;
    throw new FormatError(folder, problem, REMEDY, { cause });
  }
}

async function readVocabulary(folder: string): Promise<Vocabulary> {
  const vocab = join(folder, 'vocab.json');
  const merges = join(folder, 'merges.txt');
  const single = join(folder, 'tokenizer.json');
  if ((await exists(vocab)) && (await exists(merges))) {
    return {
      vocab: parseVocab(await readJsonFile(vocab), vocab),
      merges: parseMerges(await readMergeLines(merges), merges),
    };
  }
  if (await exists(single)) return parseFastTokenizer(await readJsonFile(single), single);
  throw new FormatError(folder, 'holds neither vocab.json with merges.txt nor tokenizer.json', REMEDY);
}

/** The layout of the `tokenizers` library: the vocabulary is its `model`. */
function parseFastTokenizer(file: Json, path: string): Vocabulary {
  const { model } = file;
  if (!isObject(model) || model['type'] !== 'BPE' || model['end_of_word_suffix'] !== END_OF_WORD) {
    throw new FormatError(path, `is not a BPE tokenizer with the end-of-word suffix ${END_OF_WORD}`, REMEDY);
  }
  if (!isObject(model['vocab'])) throw new FormatError(path, 'has no object "model.vocab"', REMEDY);
  if (!Array.isArray(model['merges'])) throw new FormatError(path, 'has no list "model.merges"', REMEDY);
  return { vocab: parseVocab(model['vocab'], path), merges: parseMerges(model['merges'], path) };
}

function parseVocab(object: Json, path: string): Map<string, number> {
  const entries = Object.entries(object);
  if (entries.length > MAX_TOKENS) {
    throw new FormatError(path, `has ${entries.length} tokens`, `At most ${MAX_TOKENS} are read.`);
  }
  const taken = new Set<number>();
  for (const [token, id] of entries) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= MAX_TOKENS) {
      throw new FormatError(path, `token "${shown(token)}" has no valid id`, REMEDY);
    }
    if (taken.has(id as number)) throw new FormatError(path, `gives the id ${id} to two tokens`, REMEDY);
    taken.add(id as number);
  }
  return new Map(entries as [string, number][]);
}

async function readMergeLines(path: string): Promise<string[]> {
  const source = await fileSource(path);
  await using _ = deferred(() => source.close());
  const { size } = source;
  if (size > MERGES_BYTES) throw new FormatError(path, `is too long (${size} bytes)`, 'Check the path.');
  const lines = (await readBytes(source, 0, size)).toString('utf8').split(/\r?\n/);
  if (lines[0]?.startsWith('#version')) lines.shift();
  return lines.filter((line) => line !== '');
}

/** Merges are "a b", or ["a", "b"] in newer tokenizer.json files. */
function parseMerges(merges: readonly unknown[], path: string): [string, string][] {
  return merges.map((merge, i) => {
    const pair: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((part) => part && typeof part === 'string')) {
      throw new FormatError(path, `merge ${i + 1} is not a pair of tokens`, REMEDY);
    }
    return pair as [string, string];
  });
}

interface Settings extends Pick<TokenizerData, 'bos' | 'eos' | 'pad' | 'maxLength'> {
  /** Special tokens that are more than a text there. */
  named: Json[];
}

async function readSettings(folder: string): Promise<Settings> {
  const configPath = join(folder, 'tokenizer_config.json');
  const mapPath = join(folder, 'special_tokens_map.json');
  const config = await readOptionalJson(configPath);
  // transformers lets the map win, except over a configuration that lists its added tokens (version 4.34 and later).
  const map = config['added_tokens_decoder'] === undefined ? await readOptionalJson(mapPath) : {};
  const named = new Map<unknown, Json>();
  const token = (key: 'bos_token' | 'eos_token' | 'pad_token'): string => {
    const [value, path] = map[key] == null ? [config[key] ?? CLIP_DEFAULTS[key], configPath] : [map[key], mapPath];
    const content = isObject(value) ? value['content'] : value;
    // The last one decides where two roles have one token: mostly the end token, which SD 1.x pads with.
    if (isObject(value)) named.set(content, value);
    else named.delete(content);
    if (typeof content !== 'string' || content === '') throw new FormatError(path, `"${key}" is not a token`, REMEDY);
    return content;
  };
  const maxLength = config['model_max_length'] ?? CLIP_DEFAULTS.model_max_length;
  if (typeof maxLength !== 'number' || !(maxLength <= MAX_LENGTH)) {
    throw new FormatError(configPath, '"model_max_length" is not a length that a text model has', 'CLIP has 77.');
  }
  return { bos: token('bos_token'), eos: token('eos_token'), pad: token('pad_token'), maxLength, named: [...named.values()] };
}

/**
 * Tokens beside the vocabulary, from all files that may name them, the later ones winning: `added_tokens.json`
 * (transformers before 4.34), `tokenizer_config.json`, `tokenizer.json`.
 */
async function readAdded(folder: string, vocab: ReadonlyMap<string, number>, named: readonly Json[]): Promise<AddedToken[]> {
  const found = new Map<string, AddedToken>();
  const add = (path: string, content: unknown, id: unknown, flags: Json = {}): void => {
    if (typeof content !== 'string' || content === '' || !Number.isInteger(id) || (id as number) < 0 || (id as number) >= MAX_TOKENS) {
      throw new FormatError(path, `has the added token ${shown(JSON.stringify([content, id]))}`, REMEDY);
    }
    found.set(content, {
      content, ids: [id as number], lstrip: flags['lstrip'] === true, rstrip: flags['rstrip'] === true,
      singleWord: flags['single_word'] === true,
      normalized: typeof flags['normalized'] === 'boolean' ? flags['normalized'] : flags['special'] !== true,
    });
  };
  for (const flags of named) {
    const content = String(flags['content']);
    const id = vocab.get(content);
    if (id !== undefined) add(folder, content, id, { special: true, ...flags });
  }
  const legacy = join(folder, 'added_tokens.json');
  const special = new Set(named.map((flags) => flags['content']));
  for (const [content, id] of Object.entries(await readOptionalJson(legacy))) {
    if (!special.has(content)) add(legacy, content, id);
  }
  const config = join(folder, 'tokenizer_config.json');
  const { added_tokens_decoder: decoder } = await readOptionalJson(config);
  if (isObject(decoder)) {
    for (const [id, flags] of Object.entries(decoder)) {
      add(config, isObject(flags) ? flags['content'] : flags, Number(id), isObject(flags) ? flags : {});
    }
  }
  const single = join(folder, 'tokenizer.json');
  const { added_tokens: list } = await readOptionalJson(single);
  for (const flags of Array.isArray(list) ? (list as unknown[]) : []) {
    if (!isObject(flags)) throw new FormatError(single, 'has an added token that is no object', REMEDY);
    add(single, flags['content'], flags['id'], flags);
  }
  return [...found.values()];
}

async function readOptionalJson(path: string): Promise<Json> {
  return (await exists(path)) ? readJsonFile(path) : {};
}

/** @file The CLIP tokenizer against known ids of transformers 5.23.0; folder layouts, bad files, BPE training. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { byteSymbols } from '../../src/models/bpe.js';
import { END_OF_TEXT, START_OF_TEXT, trainBpe } from '../../src/models/bpe-train.js';
import { loadTokenizer } from '../../src/loading/tokenizer-files.js';
import { createTokenizer, type Tokenizer } from '../../src/models/tokenizer.js';

const bundled = fileURLToPath(new URL('../../models/emoji/tokenizer', import.meta.url));
const prompts = fileURLToPath(new URL('../../models/emoji/prompts', import.meta.url));

/** 512 byte tokens (a byte's id is the byte, plus 256 where a word ends), four merges, two special tokens. */
const merges: [string, string][] = [['c', 'a'], ['ca', 't</w>'], ['t', 't'], ['d', 'og</w>']];
const alphabet = [...byteSymbols, ...byteSymbols.map((symbol) => `${symbol}</w>`)];
const vocab = new Map(
  [...alphabet, 'ca', 'cat</w>', 'tt', 'dog</w>', START_OF_TEXT, END_OF_TEXT].map((token, id) => [token, id]),
);
const [CAT, BOS, EOS] = [513, 516, 517];
const small = (pad = END_OF_TEXT, maxLength = 8) =>
  createTokenizer({ vocab, merges, maxLength, bos: START_OF_TEXT, eos: END_OF_TEXT, pad });

/** The ids between start and end. */
function content(tokenizer: Tokenizer, text: string): number[] {
  const { ids } = tokenizer.encode(text);
  return Array.from(ids.subarray(1, ids.indexOf(tokenizer.eos, 1)));
}
const byte = (character: string) => character.charCodeAt(0);
const lastByte = (character: string) => 256 + byte(character);

/** What `CLIPTokenizer` of transformers 5.23.0 gives with models/emoji/tokenizer, start and end cut off. */
const BUNDLED_IDS: [string, number[]][] = [
  ['a red apple, 3d', [353, 654, 1653, 300, 307, 356]],
  ['A grinning face, flat', [353, 972, 526, 300, 514]],
  ['an animal', [523, 548]],
  ['family: man, woman, girl, boy, 3d', [940, 314, 525, 300, 583, 300, 1027, 300, 966, 300, 307, 356]],
  ['a woman\'s hat', [353, 583, 1063, 991]],
  ['un café 🍎', [117, 366, 567, 102, 195, 425, 240, 159, 141, 398]],
];

describe('encode', () => {
  it('puts start, words, end and padding into maxLength ids', () => {
    const { ids, truncated } = small().encode('a cat');
    expect(Array.from(ids)).toEqual([BOS, lastByte('a'), CAT, EOS, EOS, EOS, EOS, EOS]);
    expect(truncated).toBeNull();
    expect(Array.from(small().encode('').ids)).toEqual([BOS, EOS, EOS, EOS, EOS, EOS, EOS, EOS]);
  });

  it('merges by rank, every occurrence from the left', () => {
    expect(content(small(), 'catt')).toEqual([512, byte('t'), lastByte('t')]);
    expect(content(small(), 'ttttx')).toEqual([514, 514, lastByte('x')]);
    expect(content(small(), 'dog')).toEqual([byte('d'), byte('o'), lastByte('g')]);
  });

  it('ignores case, kind and amount of white space', () => {
    const plain = content(small(), 'a cat');
    for (const text of ['  A  CAT\n', 'a\tcat', 'a\u3000cat', 'a\u0085cat']) {
      expect(content(small(), text)).toEqual(plain);
    }
  });

  it('separates contractions, digits and punctuation', () => {
    const wide = small(END_OF_TEXT, 40);
    expect(wide.decode(wide.encode('it\'s we\'ll 12 (red:1.2)!!').ids)).toBe('it \'s we \'ll 1 2 ( red : 1 . 2 )!!');
  });

  it('composes accents and lowers each character by itself', () => {
    expect(content(small(), 'e\u0301')).toEqual(content(small(), 'É'));
    expect(content(small(), 'ΟΣ')).toEqual(content(small(), 'οσ'));
  });

  it('takes special tokens in a text for themselves', () => {
    expect(Array.from(small().encode(`cat${START_OF_TEXT}cat`).ids.subarray(0, 5))).toEqual([BOS, CAT, BOS, CAT, EOS]);
    const pad = byte('!');
    expect(Array.from(small('!').encode('cat!').ids)).toEqual([BOS, CAT, pad, EOS, pad, pad, pad, pad]);
    expect(content(small(), 'cat!')).toEqual([CAT, lastByte('!')]);
  });

  it('tells what it cut', () => {
    const { ids, truncated } = small(END_OF_TEXT, 4).encode('cat cat CAT a cat');
    expect(Array.from(ids)).toEqual([BOS, CAT, CAT, EOS]);
    expect(truncated).toBe('cat a cat');
  });

  it('refuses a text without end', () => {
    expect(() => small().encode('x'.repeat(8193))).toThrow(/8193 characters.*at most 8192/);
    expect(small().encode('x'.repeat(8192)).truncated).toHaveLength(8186);
  });
});

describe('decode', () => {
  it('returns any text as it was encoded, lower case', () => {
    const wide = small(END_OF_TEXT, 200);
    for (const text of ['a photo of a cat', 'naïve café', '日本語', '👩‍👩‍👧 🍎', 'नमस्ते', '\u0000\u00ad']) {
      expect(wide.decode(wide.encode(text).ids).replaceAll(' ', '')).toBe(text.replaceAll(' ', ''));
    }
  });

  it('names an id that does not exist', () => {
    expect(() => small().decode([99999])).toThrow(/99999/);
  });
});

describe('the bundled tokenizer', () => {
  it('gives the ids that transformers gives', async () => {
    const tokenizer = await loadTokenizer(bundled);
    expect(tokenizer).toMatchObject({ maxLength: 16, bos: 3070, eos: 3071, pad: 3071 });
    for (const [text, ids] of BUNDLED_IDS) expect(content(tokenizer, text), text).toEqual(ids);
  });

  it('has room for every name in both styles', async () => {
    const tokenizer = await loadTokenizer(bundled);
    const lines = (await readFile(join(prompts, 'names.txt'), 'utf8')).split('\n');
    const names = lines.filter((line) => line && !line.startsWith('#'));
    expect(names.length).toBeGreaterThan(1500);
    for (const name of names.flatMap((line) => [`${line}, flat`, `${line}, 3d`])) {
      const { ids, truncated } = tokenizer.encode(name);
      expect(truncated, name).toBeNull();
      expect(tokenizer.decode(ids).replaceAll(' ', '')).toBe(name.replaceAll(' ', ''));
    }
  });
});

describe('loadTokenizer', () => {
  let folder: string;
  const put = (name: string, value: unknown) =>
    writeFile(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value));

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'attune-tokenizer-'));
    await put('vocab.json', Object.fromEntries(vocab));
    await put('merges.txt', `#version: 0.2\n${merges.map((pair) => pair.join(' ')).join('\n')}\n`);
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('assumes CLIP where no configuration says otherwise', async () => {
    expect(await loadTokenizer(folder)).toMatchObject({ maxLength: 77, bos: BOS, eos: EOS, pad: EOS });
  });

  it('reads length and special tokens, the map winning unless the configuration lists its added tokens', async () => {
    const bos_token = { content: START_OF_TEXT };
    await put('tokenizer_config.json', { model_max_length: 12, pad_token: END_OF_TEXT, bos_token });
    await put('special_tokens_map.json', { pad_token: '!' });
    expect(await loadTokenizer(folder)).toMatchObject({ maxLength: 12, bos: BOS, pad: byte('!') });
    await put('tokenizer_config.json', { added_tokens_decoder: {}, pad_token: END_OF_TEXT });
    expect(await loadTokenizer(folder)).toMatchObject({ maxLength: 77, pad: EOS });
  });

  it('reads tokenizer.json, with merges as text or as pairs', async () => {
    const text = 'a CAT, catt 12';
    const expected = (await loadTokenizer(folder)).encode(text);
    await rm(join(folder, 'merges.txt'));
    for (const list of [merges, merges.map((pair) => pair.join(' '))]) {
      await put('tokenizer.json', {
        model: { type: 'BPE', end_of_word_suffix: '</w>', vocab: Object.fromEntries(vocab), merges: list },
      });
      expect((await loadTokenizer(folder)).encode(text)).toEqual(expected);
    }
  });

  it.each([
    ['vocab.json', '{"a": 1', /vocab\.json: is not valid JSON/],
    ['vocab.json', '[]', /vocab\.json: does not hold a JSON object/],
    ['vocab.json', { a: -1 }, /vocab\.json: token "a" has no valid id/],
    ['vocab.json', { a: 1e9 }, /vocab\.json: token "a" has no valid id/],
    ['vocab.json', { a: 7, b: 7 }, /vocab\.json: gives the id 7 to two tokens/],
    ['vocab.json', {}, /the start token "<\|startoftext\|>" is not in the vocabulary/],
    ['merges.txt', 'a b c\n', /merges\.txt: merge 1 is not a pair/],
    ['merges.txt', '#version: 0.2\nc a\nq q\n', /merge 2 makes a token that "qq" is not in the vocabulary/],
    ['tokenizer_config.json', { model_max_length: 1e30 }, /tokenizer_config\.json: "model_max_length"/],
    ['tokenizer_config.json', { model_max_length: 2 }, /the maximum length is 2/],
    ['tokenizer_config.json', { eos_token: 3 }, /tokenizer_config\.json: "eos_token" is not a token/],
    ['special_tokens_map.json', { pad_token: '<pad>' }, /padding token "<pad>" is not in the vocabulary/],
    ['special_tokens_map.json', { pad_token: {} }, /special_tokens_map\.json: "pad_token" is not a token/],
  ])('names the file at fault: %s %j', async (name, value, message) => {
    await put(name, value);
    await expect(loadTokenizer(folder)).rejects.toThrow(message);
    await expect(loadTokenizer(folder)).rejects.toThrow(folder);
  });

  it.each([
    [{}, /is not a BPE tokenizer/],
    [{ model: { type: 'WordPiece' } }, /is not a BPE tokenizer/],
    [{ model: { type: 'BPE', end_of_word_suffix: '</w>' } }, /no object "model\.vocab"/],
    [{ model: { type: 'BPE', end_of_word_suffix: '</w>', vocab: {} } }, /no list "model\.merges"/],
    [{ model: { type: 'BPE', end_of_word_suffix: '</w>', vocab: {}, merges: [['a']] } }, /merge 1 is not a pair/],
  ])('refuses the tokenizer.json %j', async (value, message) => {
    await rm(join(folder, 'vocab.json'));
    await put('tokenizer.json', value);
    await expect(loadTokenizer(folder)).rejects.toThrow(message);
  });

  it('says which files a folder without a tokenizer lacks', async () => {
    await rm(join(folder, 'vocab.json'));
    await expect(loadTokenizer(folder)).rejects.toThrow(/neither vocab\.json with merges\.txt nor tokenizer\.json/);
  });

  it('refuses merges without end', async () => {
    await put('merges.txt', '\n'.repeat((1 << 24) + 1));
    await expect(loadTokenizer(folder)).rejects.toThrow(/merges\.txt: is too long/);
  });
});

describe('trainBpe', () => {
  const repeat = (word: string, count: number) => Array<string>(count).fill(word);
  const captions = [...repeat('low', 5), ...repeat('lower', 2), ...repeat('newest', 6), ...repeat('widest', 3)];

  it('merges the most frequent pair first, ties by spelling', () => {
    // The example of Sennrich et al.: es and est occur 9 times, lo 7 times; ew, ne and wes 6 times.
    const { merges: learned, vocab: tokens } = trainBpe(captions, 514 + 4);
    expect(learned).toEqual([['e', 's'], ['es', 't</w>'], ['l', 'o'], ['e', 'w']]);
    expect([tokens.size, tokens.get('est</w>'), tokens.get(END_OF_TEXT)]).toEqual([518, 513, 517]);
  });

  it('does not depend on the order of the captions', () => {
    expect(trainBpe(captions.toReversed(), 540)).toEqual(trainBpe(captions, 540));
  });

  it('stops when no pair repeats and makes a vocabulary that spells any text', () => {
    const { vocab: tokens, merges: learned } = trainBpe(['cat cat', 'dog'], 9999);
    expect(learned).toEqual([['a', 't</w>'], ['c', 'at</w>']]);
    const tokenizer = createTokenizer({
      vocab: tokens, merges: learned, maxLength: 20, bos: START_OF_TEXT, eos: END_OF_TEXT, pad: END_OF_TEXT,
    });
    expect(tokenizer.decode(tokenizer.encode('Cat → dög').ids)).toBe('cat → dög');
    expect(() => trainBpe([], 513)).toThrow(/smallest has 514/);
  });
});

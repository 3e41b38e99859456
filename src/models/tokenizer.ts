/**
 * @file CLIP's byte-level BPE tokenizer, equal to `CLIPTokenizer` of transformers: text in, a fixed number of token ids
 * out. Prompt emphasis such as "(word:1.2)" is not parsed; it is text.
 */
import { addedTokenSplitter } from './added-tokens.js';
import type { AddedToken } from './added-tokens.js';
import { byteSymbols, END_OF_WORD, initialSymbols, mergePair, splitWords } from './bpe.js';

/** What a tokenizer is made of, already parsed; `tokenizer-files.ts` reads it from a folder. */
export interface TokenizerData {
  /** token -> id; a token spells bytes in byte symbols, the last one of a word ends in </w> */
  vocab: ReadonlyMap<string, number>;
  /** pairs of tokens, the one to be merged first comes first */
  merges: readonly (readonly [string, string])[];
  /** number of ids of an encoding, start and end included */
  maxLength: number;
  /** the start, end and padding tokens as they are in `vocab` */
  bos: string;
  eos: string;
  pad: string;
  /** Tokens beside the vocabulary, and special tokens that are found otherwise than literally in a text. */
  added?: readonly AddedToken[];
}

/** What a model wants otherwise than the files say; a vocabulary may be borrowed from another model. */
export type TokenizerOverrides = Partial<Pick<TokenizerData, 'pad'>>;

export interface Encoding {
  /** start, text, end, then padding */
  ids: Int32Array; // [maxLength]
  /** the end of the prompt that did not fit, or null; it is for the caller to warn about */
  truncated: string | null;
}

export interface Tokenizer {
  /** @throws RangeError if the text is longer than 8192 characters */
  encode(text: string): Encoding;
  /**
   * The text of ids without the special tokens: lower case, a space after each word.
   * @throws RangeError if an id is not in the vocabulary
   */
  decode(ids: Iterable<number>): string;
  maxLength: number;
  /** ids of the start, end and padding tokens */
  bos: number;
  eos: number;
  pad: number;
  /** The largest id that it gives. */
  largest: number;
  /** Where it has a token. */
  knows(token: string): 'vocabulary' | 'added' | null;
  /** The same tokenizer with more tokens beside its vocabulary. @throws Error as `createTokenizer` */
  withTokens(tokens: readonly AddedToken[]): Tokenizer;
}

/** Merging takes quadratic time in the length of a word, so a hostile prompt must have an end. */
const MAX_TEXT = 8192;

const utf8 = new TextEncoder();

const byteOfSymbol: ReadonlyMap<string, number> = new Map(byteSymbols.map((symbol, byte) => [symbol, byte]));

/** A special token where no file says how it is found. */
const literal = (content: string, id: number): AddedToken =>
  ({ content, ids: [id], lstrip: false, rstrip: false, singleWord: false, normalized: false });

/** @throws Error if two tokens have one id, a special token or the result of a merge is not in the vocabulary, or nothing fits in maxLength */
export function createTokenizer(data: TokenizerData): Tokenizer {
  const { vocab, merges, maxLength, added = [], ...special } = data;
  if (!Number.isSafeInteger(maxLength) || maxLength < 3) {
    throw new Error(`the maximum length is ${maxLength}; it must be a whole number of at least 3`);
  }
  const addedIds = new Map(added.map(({ content, ids }) => [content, ids[0]!]));
  const idOf = (token: string, role: string): number => {
    const id = vocab.get(token) ?? addedIds.get(token);
    if (id === undefined) throw new Error(`${role} "${token}" is not in the vocabulary`);
    return id;
  };
  const bos = idOf(special.bos, 'the start token');
  const eos = idOf(special.eos, 'the end token');
  const pad = idOf(special.pad, 'the padding token');
  const specialIds = new Set([bos, eos, pad]);
  const ranks = new Map<string, number>();
  merges.forEach(([first, second], rank) => {
    idOf(first + second, `merge ${rank + 1} makes a token that`);
    ranks.set(`${first} ${second}`, rank);
  });
  const tokenOf = new Map(Array.from(vocab, ([token, id]) => [id, token]));
  for (const { content, ids } of added) {
    for (const id of ids) {
      const other = tokenOf.get(id);
      if (other !== undefined && other !== content) throw new Error(`id ${id} is given to "${other}" and to "${content}"`);
      tokenOf.set(id, content);
    }
  }
  // As in transformers, a special token spelled out in a text is that token; in SD 2, which pads with "!", so is "!".
  const specials = Object.values(special).filter((token) => !addedIds.has(token));
  const split = addedTokenSplitter([...specials.map((token) => literal(token, vocab.get(token)!)), ...added]);

  function lowestRankedPair(symbols: readonly string[]): [string, string] | null {
    let best = Infinity;
    let pair: [string, string] | null = null;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const rank = ranks.get(`${symbols[i]} ${symbols[i + 1]}`);
      if (rank === undefined || rank >= best) continue;
      best = rank;
      pair = [symbols[i]!, symbols[i + 1]!];
    }
    return pair;
  }

  function encodeWord(word: string): number[] {
    let symbols = initialSymbols(word);
    for (let pair = lowestRankedPair(symbols); pair; pair = lowestRankedPair(symbols)) {
      symbols = mergePair(symbols, ...pair);
    }
    // CLIP's "unknown" is its end token; only a vocabulary that lacks a byte needs it.
    return symbols.map((symbol) => vocab.get(symbol) ?? eos);
  }

  function encodeText(text: string): number[] {
    return split(text).flatMap((piece) => (typeof piece === 'string' ? splitWords(piece).flatMap(encodeWord) : piece.ids));
  }

  function decode(ids: Iterable<number>): string {
    const bytes: number[] = [];
    for (const id of ids) {
      const token = tokenOf.get(id);
      if (token === undefined) throw new RangeError(`token id ${id} is not in the vocabulary`);
      if (specialIds.has(id)) continue;
      if (addedIds.has(token)) {
        bytes.push(...utf8.encode(`${token} `));
        continue;
      }
      const ends = token.endsWith(END_OF_WORD);
      for (const symbol of ends ? token.slice(0, -END_OF_WORD.length) : token) {
        const byte = byteOfSymbol.get(symbol);
        bytes.push(...(byte === undefined ? utf8.encode(symbol) : [byte]));
      }
      if (ends) bytes.push(' '.charCodeAt(0));
    }
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes)).trim();
  }

  function encode(text: string): Encoding {
    if (text.length > MAX_TEXT) {
      throw new RangeError(`the prompt has ${text.length} characters; shorten it to at most ${MAX_TEXT}`);
    }
    const content = encodeText(text);
    const room = maxLength - 2;
    const ids = new Int32Array(maxLength).fill(pad);
    ids.set([bos, ...content.slice(0, room), eos]);
    return { ids, truncated: content.length > room ? decode(content.slice(room)) : null };
  }

  return {
    encode, decode, maxLength, bos, eos, pad,
    largest: [...tokenOf.keys()].reduce((a, b) => Math.max(a, b), 0),
    knows: (token) => (addedIds.has(token) || specials.includes(token) ? 'added' : vocab.has(token) ? 'vocabulary' : null),
    withTokens: (tokens) => createTokenizer({ ...data, added: [...added, ...tokens] }),
  };
}

/** @file Trains a byte-level BPE vocabulary of CLIP's form on a few captions (Sennrich et al., arXiv 1508.07909). */
import { byteSymbols, END_OF_WORD, initialSymbols, mergePair, normalizeText, splitWords } from './bpe.js';

export const START_OF_TEXT = '<|startoftext|>';
export const END_OF_TEXT = '<|endoftext|>';

export interface BpeVocabulary {
  /** the bytes, the bytes as ends of words, what the merges make, start and end of text */
  vocab: Map<string, number>;
  merges: [string, string][];
}

interface Word {
  symbols: string[];
  count: number;
}

/**
 * Merges the most frequent pair until the vocabulary has `size` tokens or no pair occurs twice. Equal frequencies are
 * decided by the order of the pair's characters, so the result depends on the captions alone, not on their order.
 *
 * @param captions a caption that is listed twice counts twice
 * @param size number of tokens, at least the 514 that no merge makes
 */
export function trainBpe(captions: Iterable<string>, size: number): BpeVocabulary {
  const alphabet = [...byteSymbols, ...byteSymbols.map((symbol) => symbol + END_OF_WORD)];
  const maxMerges = size - alphabet.length - 2;
  if (maxMerges < 0) throw new RangeError(`a vocabulary of ${size} tokens is asked for; the smallest has 514`);
  const words = countWords(captions);
  const merges: [string, string][] = [];
  while (merges.length < maxMerges) {
    const pair = mostFrequentPair(words);
    if (!pair) break;
    merges.push(pair);
    for (const word of words) word.symbols = mergePair(word.symbols, ...pair);
  }
  const tokens = [...alphabet, ...merges.map(([first, second]) => first + second), START_OF_TEXT, END_OF_TEXT];
  return { vocab: new Map(tokens.map((token, id) => [token, id])), merges };
}

function countWords(captions: Iterable<string>): Word[] {
  const words = new Map<string, Word>();
  for (const caption of captions) {
    for (const text of splitWords(normalizeText(caption))) {
      const word = words.get(text);
      if (word) word.count++;
      else words.set(text, { symbols: initialSymbols(text), count: 1 });
    }
  }
  return [...words.values()];
}

function mostFrequentPair(words: readonly Word[]): [string, string] | null {
  const counts = new Map<string, number>();
  for (const { symbols, count } of words) {
    for (let i = 0; i + 1 < symbols.length; i++) {
      const key = `${symbols[i]} ${symbols[i + 1]}`;
      counts.set(key, (counts.get(key) ?? 0) + count);
    }
  }
  let best: string | null = null;
  let most = 1;
  for (const [key, count] of counts) {
    if (count > most || (count === most && best !== null && key < best)) [best, most] = [key, count];
  }
  return best === null ? null : best.split(' ') as [string, string];
}

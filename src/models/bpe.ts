/**
 * @file The parts of CLIP's byte-pair encoding that using and training a vocabulary share: words, the byte alphabet,
 * merging (Sennrich et al., arXiv 1508.07909; the byte-level form is GPT-2's).
 */

/** What the last token of a word ends in. */
export const END_OF_WORD = '</w>';

/** English contractions, runs of letters, single digits, runs of anything else but white space. */
const WORD = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

/** By byte, the character that stands for it in vocabulary files; printable Latin-1 stands for itself. */
export const byteSymbols: readonly string[] = makeByteSymbols();

function makeByteSymbols(): string[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

/** Composed, with single spaces and lower case, character by character as in the `tokenizers` library: no sigma becomes a final one. */
export function normalizeText(text: string): string {
  return Array.from(text.normalize('NFC').replace(/\p{White_Space}+/gu, ' '), (character) => character.toLowerCase()).join('');
}

/** The words of a normalized text, each spelled in byte symbols: "a photo!" -> ["a", "photo", "!"]. */
export function splitWords(text: string): string[] {
  const words = text.match(WORD) ?? [];
  return words.map((word) => Array.from(new TextEncoder().encode(word), (byte) => byteSymbols[byte]!).join(''));
}

/** The symbols of a word before any merge: "cat" -> ["c", "a", "t</w>"]. */
export function initialSymbols(word: string): string[] {
  const symbols = Array.from(word);
  symbols.push(symbols.pop()! + END_OF_WORD);
  return symbols;
}

/** Joins every occurrence of one pair, from the left. */
export function mergePair(symbols: readonly string[], first: string, second: string): string[] {
  const merged: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    const joins = symbols[i] === first && symbols[i + 1] === second;
    merged.push(joins ? first + second : symbols[i]!);
    if (joins) i++;
  }
  return merged;
}

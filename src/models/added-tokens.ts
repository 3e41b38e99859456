/**
 * @file Tokens beside a tokenizer's vocabulary, as the `tokenizers` library finds them in a text before its words are
 * split: special tokens, and the words of Textual Inversion.
 */
import { normalizeText } from './bpe.js';

export interface AddedToken {
  readonly content: string;
  /** One, or those of all vectors of an embedding. */
  readonly ids: readonly number[];
  /** Takes the white space before (after) it along. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Is none within a word. */
  readonly singleWord: boolean;
  /** Is looked for in the text in lower case, and else as it is written. */
  readonly normalized: boolean;
}

/** What `add_tokens` of transformers makes of a text. */
export const plainToken = (content: string, ids: readonly number[]): AddedToken =>
  ({ content, ids, lstrip: false, rstrip: false, singleWord: false, normalized: true });

type Piece = string | AddedToken;

/** Splits texts at added tokens; what lies between them is normalized. The longest token at the leftmost place wins. */
export function addedTokenSplitter(tokens: readonly AddedToken[]): (text: string) => Piece[] {
  const raw = finder(tokens.filter((token) => !token.normalized), (text) => text);
  const plain = finder(tokens.filter((token) => token.normalized), normalizeText);
  const each = (pieces: readonly Piece[], split: (text: string) => Piece[]): Piece[] =>
    pieces.flatMap((piece) => (typeof piece === 'string' ? split(piece) : [piece]));
  return (text) => each(raw(text), (piece) => plain(normalizeText(piece)));
}

const SPACE_BEFORE = /\p{White_Space}*$/u;
const SPACE_AFTER = /^\p{White_Space}*/u;
const WORD_BEFORE = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_AFTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

function finder(tokens: readonly AddedToken[], written: (content: string) => string): (text: string) => Piece[] {
  const bySpelling = new Map(tokens.map((token) => [written(token.content), token]));
  if (bySpelling.size === 0) return (text) => [text];
  const spellings = [...bySpelling.keys()].toSorted((a, b) => b.length - a.length);
  const pattern = new RegExp(spellings.map(escapeRegExp).join('|'), 'gu');
  return (text) => {
    const pieces: Piece[] = [];
    let done = 0;
    for (const match of text.matchAll(pattern)) {
      const token = bySpelling.get(match[0])!;
      const [before, after] = [text.slice(done, match.index), text.slice(match.index + match[0].length)];
      if (match.index < done) continue;
      if (token.singleWord && (WORD_BEFORE.test(text.slice(0, match.index)) || WORD_AFTER.test(after))) continue;
      pieces.push(token.lstrip ? before.replace(SPACE_BEFORE, '') : before, token);
      done = match.index + match[0].length + (token.rstrip ? SPACE_AFTER.exec(after)![0].length : 0);
    }
    return [...pieces, text.slice(done)].filter((piece) => piece !== '');
  };
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

/**
 * @file BERT's WordPiece tokenizer without case, equal to `BertTokenizer` of transformers (Devlin et al., arXiv
 * 1810.04805): words are spelled with the longest pieces that the vocabulary has.
 */
export interface WordPieceEncoding {
  /** [CLS], text, [SEP], then padding */
  ids: Int32Array; // [length]
  /** How many of them are not padding. */
  count: number;
}

export interface WordPiece {
  /** A text too long is cut. @throws RangeError if it is longer than 8192 characters */
  encode(text: string): WordPieceEncoding;
  /** Number of ids of an encoding. */
  readonly length: number;
  /** Number of different ids. */
  readonly size: number;
}

const [PAD, UNKNOWN, START, END, MASK] = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] as const;
const SPECIAL = [PAD, UNKNOWN, START, END, MASK];

/** What a piece that does not begin a word begins with. */
const INSIDE = '##';
/** A longer word is unknown as a whole. */
const MAX_WORD = 100;
const MAX_TEXT = 8192;

/** Each punctuation mark (all ASCII symbols are), and runs of what is neither white space nor punctuation. */
const WORD = /[!-/:-@[-`{-~\p{P}]|[^\p{White_Space}!-/:-@[-`{-~\p{P}]+/gu;
/** Control, format and private characters but white space, and the mark of damaged text. */
const DISCARDED = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\ufffd]/gu;
/** Chinese characters (not Japanese or Korean letters) are words of their own. */
const IDEOGRAPH = new RegExp('[\\u4e00-\\u9fff\\u3400-\\u4dbf\\uf900-\\ufaff\\u{20000}-\\u{2a6df}\\u{2a700}-\\u{2b73f}'
  + '\\u{2b740}-\\u{2b81f}\\u{2b820}-\\u{2ceaf}\\u{2f800}-\\u{2fa1f}]', 'gu');

/** Lower case without accents, character by character: no sigma becomes a final one. */
function normalizeText(text: string): string {
  const spaced = text.replace(DISCARDED, '').replace(IDEOGRAPH, ' $& ');
  const plain = spaced.normalize('NFD').replace(/\p{Mn}/gu, '');
  return Array.from(plain, (character) => character.toLowerCase()).join('');
}

/**
 * @param tokens by id; of equal ones the last counts
 * @param length ids of an encoding
 * @param added special tokens that get the ids after the vocabulary's
 * @throws Error if a special token is missing
 */
export function createWordPiece(tokens: readonly string[], length: number, added: readonly string[] = []): WordPiece {
  const vocab = new Map([...tokens, ...added].map((token, id) => [token, id]));
  const special = [...SPECIAL, ...added];
  for (const token of special) if (!vocab.has(token)) throw new Error(`it has no token ${token}`);
  const [pad, unknown, start, end] = SPECIAL.map((token) => vocab.get(token)!) as [number, number, number, number];
  const spelledOut = new RegExp(`(${special.map((token) => token.replace(/[[\]]/g, '\\$&')).join('|')})`);

  function encodeWord(word: string): number[] {
    const characters = Array.from(word);
    if (characters.length > MAX_WORD) return [unknown];
    const ids: number[] = [];
    for (let from = 0; from < characters.length;) {
      let to = characters.length;
      let id: number | undefined;
      for (; to > from && id === undefined; to--) {
        id = vocab.get((from > 0 ? INSIDE : '') + characters.slice(from, to).join(''));
      }
      if (id === undefined) return [unknown];
      ids.push(id);
      from = to + 1;
    }
    return ids;
  }

  function encode(text: string): WordPieceEncoding {
    if (text.length > MAX_TEXT) {
      throw new RangeError(`the prompt has ${text.length} characters; shorten it to at most ${MAX_TEXT}`);
    }
    const content = text.split(spelledOut).flatMap((part, i) => { // text, special, text, special, …, text
      if (i % 2 === 1) return [vocab.get(part)!];
      return (normalizeText(part).match(WORD) ?? []).flatMap(encodeWord);
    });
    const used = [start, ...content.slice(0, length - 2), end];
    const ids = new Int32Array(length).fill(pad);
    ids.set(used);
    return { ids, count: used.length };
  }

  return { encode, length, size: tokens.length + added.length };
}

/**
 * @file Prompts as OpenAI's and OpenCLIP's own code cleans them before CLIP's tokenizer sees them: ftfy's repairs, HTML
 * entities, white space, case (`_clean_lower` in open_clip/tokenizer.py). `CLIPTokenizer` of transformers does none of it
 * but the case. Text decoded by a wrong encoding ("Ã©" for "é"), which ftfy guesses from statistics, stays as it is.
 */
import { decodeHTML } from 'entities';

const ENTITY = /&#?[0-9A-Za-z]{1,24};/g;
/** Windows-1252 has these where Latin-1 has control characters from U+0080 on; the five that neither has stay. */
const WINDOWS = '€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ';
/** Latin letters that are two. */
const LIGATURES = /[ĲĳŉǱ-ǳǄ-ǌﬀ-ﬆ]/g;
/** Those that are not taken apart as by Unicode's own decomposition. */
const TAKEN_APART: Readonly<Record<string, string>> = { ŉ: 'ʼn', ﬅ: 'ſt' };
/** Half- and full-width forms. */
const WIDTHS = /[\uff01-\uffef]/g;
const TERMINAL = new RegExp(`${String.fromCharCode(27)}\\[[\\d;]*[a-zA-Z]`, 'g');
/** Control characters but white space, deprecated and interlinear format characters, byte-order marks. */
const DISCARDED = /(?![\t\n\f\r\u0081\u008d\u008f\u0090\u009d])\p{Cc}|[\u206a-\u206f\ufeff\ufff9-\ufffc]/gu;

/** What an entity stands for, if it is one as a whole. */
function decoded(text: string): string | null {
  const plain = decodeHTML(text);
  return plain === text || (plain.endsWith(';') && plain !== ';') ? null : plain;
}

/** Also where its name was turned to upper case; a semicolon given by its number stays as it is. */
function entity(text: string): string {
  const plain = decoded(text);
  if (text.startsWith('&#')) return plain === null || plain === ';' ? text : plain;
  const raised = text === text.toUpperCase() ? decoded(text.toLowerCase())?.toUpperCase() : undefined;
  return plain ?? raised ?? text;
}

/** One pass of ftfy's repairs over a line. */
function repairedOnce(line: string, entities: boolean): string {
  return (entities ? line.replace(ENTITY, entity) : line)
    .replace(/[\x80-\x9f]/g, (c) => WINDOWS[c.charCodeAt(0) - 0x80]!)
    .replace(LIGATURES, (c) => TAKEN_APART[c] ?? c.normalize('NFKD').normalize('NFC'))
    .replaceAll('\u3000', ' ').replace(WIDTHS, (c) => c.normalize('NFKC'))
    .replace(/[\u201c-\u201f]/g, '"').replace(/[\u02bc\u2018-\u201b]/g, '\'')
    .replace(/\r\n|[\r\u2028\u2029\u0085]/g, '\n')
    .replace(/\p{Cs}/gu, '\ufffd') // halves of surrogate pairs
    .replace(TERMINAL, '')
    .replace(DISCARDED, '')
    .normalize('NFC');
}

/** ftfy.fix_text without its repairs of encodings; from a line with "<" on, entities are left alone as markup. */
function repaired(text: string): string {
  let entities = true;
  return text.split(/(?<=\n)/).map((line) => {
    entities &&= !line.includes('<');
    let [before, now] = ['', line];
    while (now !== before) [before, now] = [now, repairedOnce(now, entities)];
    return now;
  }).join('');
}

/** The text as OpenCLIP's tokenizer encodes it. */
export function cleanForClip(text: string): string {
  const plain = decodeHTML(decodeHTML(repaired(text)));
  return plain.split(/\p{White_Space}+/u).filter((word) => word !== '').join(' ').toLowerCase();
}

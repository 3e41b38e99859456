/**
 * @file Reading untrusted JSON: size-limited, with the infinities that Python writes, and for headers entry by entry
 * with duplicate keys found.
 */
import { FormatError, shown } from './errors.js';

const REMEDY = 'The file is damaged: download or export it again.';

/** Values in a JSON text: four times those of the largest tokenizers. */
const MOST_VALUES = 2_000_000;

/** Objects and lists within each other: other code walks them with a stack. */
const MOST_LEVELS = 64;

/** Keys or numbers in one of `flatEntries`: a hundred times what trainers note about a LoRA. */
const MOST_ITEMS = 10_000;

/**
 * Parses a text that must be a JSON object. `Infinity`, `-Infinity` and `NaN`, which Python's `json` writes though JSON
 * has no words for them, are read as numbers.
 */
export function parseObject(text: string, where: string): Record<string, unknown> {
  const plain = withoutWords(text, where);
  const value = parseJson(plain, where, plain === text ? undefined : (_, v) => (v === NOT_A_NUMBER ? Number.NaN : v));
  if (!isObject(value)) throw new FormatError(where, 'does not hold a JSON object', REMEDY);
  return value;
}

/**
 * `JSON.parse` of an untrusted text.
 *
 * @throws FormatError if it is not JSON, nested too deeply, of too many values, or has a key that no honest file has
 */
export function parseJson(text: string, where: string, reviver?: (key: string, value: unknown) => unknown): unknown {
  checkText(text, where);
  let value: unknown;
  try {
    value = JSON.parse(text, reviver);
  } catch (cause) {
    throw new FormatError(where, `is not valid JSON (${shown((cause as Error).message)})`, REMEDY, { cause });
  }
  if (/proto|\\u/.test(text)) checkKeys(value, where);
  return value;
}

/** Refuses what would take the parser, or those that walk its result, too long. */
function checkText(text: string, where: string): void {
  let depth = 0;
  let values = 1;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === '"') {
      // An unclosed string is told by the parser.
      do i = text.indexOf('"', i + 1); while (i > 0 && isEscaped(text, i));
      if (i < 0) return;
    } else if (c === '{' || c === '[') depth++;
    else if (c === '}' || c === ']') depth--;
    else if (c === ',') values++;
    if (depth > MOST_LEVELS) throw new FormatError(where, `is nested too deeply at character ${i}`, REMEDY);
    if (values > MOST_VALUES) throw new FormatError(where, `holds more than ${MOST_VALUES} values`, 'Check the path.');
  }
}

/** Whether an odd number of backslashes stands before the character. */
function isEscaped(text: string, at: number): boolean {
  let from = at;
  while (text[from - 1] === '\\') from--;
  return (at - from) % 2 === 1;
}

/**
 * Refuses the key `__proto__`: as a value it does nothing, and code that copies keys would change its object's prototype.
 * What is parsed is no deeper than `MOST_LEVELS`, unless it refers to itself, as YAML can.
 */
export function checkKeys(value: unknown, where: string, depth = 0): void {
  if (typeof value !== 'object' || value === null) return;
  if (depth > MOST_LEVELS) throw new FormatError(where, 'is nested too deeply', REMEDY);
  if (Object.hasOwn(value, '__proto__')) throw new FormatError(where, 'has the unknown key "__proto__"', 'Take it out.');
  for (const inner of Object.values(value)) checkKeys(inner, where, depth + 1);
}

/** JSON as Python's `json` writes it: numbers that are not finite stand there as `parseObject` reads them. */
export function pythonJson(value: unknown): string {
  const marked = (_: string, v: unknown): unknown =>
    typeof v === 'number' && !Number.isFinite(v) ? `${MARK}${v}` : v;
  return `${JSON.stringify(value, marked, 2).replace(/"\\u0000(-?Infinity|NaN)"/g, '$1')}\n`;
}

/** Begins the string that stands for a number that JSON cannot write. */
const MARK = '\0';
const NOT_A_NUMBER = `${MARK}NaN`;

/** The text with Python's words, outside of strings, in a form that JSON has: 1e999 overflows to infinity. */
function withoutWords(text: string, where: string): string {
  const word = /"|Infinity|NaN/g;
  let plain = '';
  let from = 0;
  for (let match = word.exec(text); match; match = word.exec(text)) {
    if (match[0] === '"') word.lastIndex = stringEnd(text, match.index, where);
    else {
      plain += text.slice(from, match.index) + (match[0] === 'NaN' ? JSON.stringify(NOT_A_NUMBER) : '1e999');
      from = word.lastIndex;
    }
  }
  return plain + text.slice(from);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The entries of a JSON object whose values are flat: objects of strings, numbers and arrays of those, no deeper.
 * They are yielded one by one, so that a hostile text costs no more memory than its first wrong entry, and a key that
 * occurs twice (which `JSON.parse` would hide, there and in the values) is an error.
 */
export function* flatEntries(text: string, where: string): Generator<[key: string, value: unknown]> {
  const seen = new Set<string>();
  let at = skipSpace(text, 0);
  if (text[at] !== '{') throw new FormatError(where, 'does not begin with "{"', REMEDY);
  at = skipSpace(text, at + 1);
  if (text[at] === '}') return endOfText(text, at + 1, where);
  for (;;) {
    const keyEnd = stringEnd(text, at, where);
    const key = parse(text.slice(at, keyEnd), where) as string;
    if (seen.has(key)) throw new FormatError(where, `has the key "${shown(key)}" twice`, REMEDY);
    seen.add(key);
    at = skipSpace(text, keyEnd);
    if (text[at] !== ':') throw new FormatError(where, `has no value for "${shown(key)}"`, REMEDY);
    const start = at + 1;
    const { end, keys } = valueExtent(text, start, where);
    const value = parse(text.slice(start, end), where);
    if (isObject(value) && Object.keys(value).length !== keys) {
      throw new FormatError(where, `has a key twice in the entry "${shown(key)}"`, REMEDY);
    }
    yield [key, value];
    if (text[end] === '}') return endOfText(text, end + 1, where);
    at = skipSpace(text, end + 1);
  }
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError(where, `is not valid JSON near ${shown(text)}`, REMEDY, { cause });
  }
}

function skipSpace(text: string, at: number): number {
  while (at < text.length && ' \t\n\r'.includes(text[at]!)) at++;
  return at;
}

function endOfText(text: string, at: number, where: string): void {
  if (skipSpace(text, at) !== text.length) throw new FormatError(where, 'has text after its closing "}"', REMEDY);
}

/** The offset after the string literal that begins at `at`. */
function stringEnd(text: string, at: number, where: string): number {
  if (text[at] === '"') {
    for (let i = at + 1; i < text.length; i++) {
      if (text[i] === '\\') i++;
      else if (text[i] === '"') return i + 1;
    }
  }
  throw new FormatError(where, `has no complete string at character ${at}`, REMEDY);
}

/** Where the value that begins at `at` ends (its "," or "}"), and how many keys it has if it is an object. */
function valueExtent(text: string, at: number, where: string): { end: number; keys: number } {
  let depth = 0;
  let keys = 0;
  let items = 1;
  for (let i = at; i < text.length; i++) {
    const c = text[i]!;
    if (c === '"') i = stringEnd(text, i, where) - 1;
    else if (c === '{' || c === '[') {
      if (++depth > 2) throw new FormatError(where, `is nested too deeply at character ${i}`, REMEDY);
    } else if (depth === 0 && (c === ',' || c === '}')) return { end: i, keys };
    else if (c === '}' || c === ']') depth--;
    else if (c === ':' && depth === 1) keys++;
    else if (c === ',' && ++items > MOST_ITEMS) {
      throw new FormatError(where, `has an entry of more than ${MOST_ITEMS} items at character ${at}`, REMEDY);
    }
  }
  throw new FormatError(where, `ends within the value at character ${at}`, REMEDY);
}

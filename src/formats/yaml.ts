/** @file Reading untrusted YAML: what its parser would take minutes or the whole stack for is refused before. */
import { CST, Lexer, parse } from 'yaml';
import { FormatError, shown } from './errors.js';
import { checkKeys } from './json.js';
import { MOST_BYTES } from './whole-file.js';

/** Words, marks and spaces: the bundled recipes have up to 500. The parser compares every key of a map to all others. */
const MOST_TOKENS = 20_000;
/** Collections within each other. A configuration has three levels; the parser takes stack for each. */
const MOST_LEVELS = 32;

const REMEDY = 'Write settings as `key: value`, one a line, and quote what is text.';

/**
 * Parses YAML (or JSON) of a file or an argument.
 *
 * @param where the file or setting, for messages
 * @throws FormatError if it is not YAML, or too long or deep to be settings
 */
export function parseYaml(text: string, where: string): unknown {
  if (text.length > MOST_BYTES.settings) throw new FormatError(where, 'is too long for settings', 'Check the path.');
  checkTokens(text, where);
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 100, logLevel: 'error' });
  } catch (cause) {
    throw new FormatError(where, `is not YAML (${shown((cause as Error).message.split('\n')[0]!)})`, REMEDY, { cause });
  }
  checkKeys(value, where);
  return value;
}

/** Counts what the parser is slow at, by its own lexer. */
function checkTokens(text: string, where: string): void {
  let count = 0;
  let flow = 0;
  let items = 0;
  for (const token of new Lexer().lex(text)) {
    const kind = CST.tokenType(token);
    if (++count > MOST_TOKENS) throw new FormatError(where, 'holds far more than settings do', 'Check the path.');
    if (kind === 'flow-map-start' || kind === 'flow-seq-start') flow++;
    else if (kind === 'flow-map-end' || kind === 'flow-seq-end') flow--;
    else if (kind === 'newline') items = 0;
    else if (kind === 'seq-item-ind') items++;
    // Keys that are collections nest in time cubed, and no setting has one.
    else if (kind === 'explicit-key-ind') throw new FormatError(where, 'has a key that begins with "?"', REMEDY);
    if (flow > MOST_LEVELS || items > MOST_LEVELS) throw new FormatError(where, 'is nested too deeply', REMEDY);
  }
}

/** @file Text files as people's programs write them: UTF-8 or, with a byte-order mark, UTF-16. */
import { FormatError } from './errors.js';
import { encodingOf, readWhole, SAVE_AS_UTF8 } from './whole-file.js';

/** Lines of a list of prompts, pairs or pictures. Half a million take two seconds. */
export const MOST_LINES = 500_000;

/**
 * Reads a text file whole, without its byte-order mark.
 *
 * @param most bytes that it may have
 * @throws FormatError for a file that is missing, too large or of too many lines, or no text: with the line and column
 *   that is not UTF-8
 */
export async function readTextFile(path: string, most: number): Promise<string> {
  const bytes = await readWhole(path, most);
  let lines = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) lines++;
  if (lines > MOST_LINES) throw new FormatError(path, `has ${lines} lines, and ${MOST_LINES} are the most that are read`, 'Split it.');
  return decodeText(bytes, path);
}

/** The text of a file's bytes. @throws FormatError with the line and column that is no text */
function decodeText(bytes: Uint8Array, where: string): string {
  const encoding = encodingOf(bytes, where);
  let text: string;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch (cause) {
    const lossy = new TextDecoder(encoding).decode(bytes);
    const at = lossy.indexOf('\ufffd'); // may be a real one; then its line is as near as can be told
    throw new FormatError(`${where}:${place(lossy, at)}`, `is not ${encoding.toUpperCase()}`, SAVE_AS_UTF8, { cause });
  }
  const zero = text.indexOf('\0');
  if (zero < 0) return text;
  const problem = 'is a zero, as binary files have it and UTF-16 without a byte-order mark';
  throw new FormatError(`${where}:${place(text, zero)}`, problem, 'Give a text file; save it as UTF-8.');
}

/** `line:column` of a character, from 1 on. */
export function place(text: string, at: number): string {
  const before = text.slice(0, at);
  return `${lineCount(before)}:${at - Math.max(before.lastIndexOf('\n'), before.lastIndexOf('\r'))}`;
}

const lineCount = (text: string): number => linesOf(text).length;

/** Lines however they end. */
export const linesOf = (text: string): string[] => text.split(/\r\n|\n|\r/);

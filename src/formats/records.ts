/** @file Lists of records in one of the ways that people keep them: CSV, TSV, JSON lines, or one JSON array. */
import { extname } from 'node:path';
import { FormatError, shown } from './errors.js';
import { isObject } from './json.js';
import { readTable } from './table.js';
import { linesOf, place, readTextFile } from './text-file.js';
import { MOST_BYTES } from './whole-file.js';

/** A value, of tables an object of texts, with where it stands. */
export interface Listed {
  readonly where: string;
  readonly value: unknown;
}

/** What a list's file may end in. */
export const RECORD_ENDINGS = ['.csv', '.tsv', '.jsonl', '.ndjson', '.json'];

/**
 * Reads a list of records; keys and names of columns are in lower case.
 *
 * @param wanted for a table: one column of each group must be there
 * @throws FormatError with the line that is wrong
 */
export async function readRecords(path: string, wanted: readonly (readonly string[])[]): Promise<Listed[]> {
  const text = await readTextFile(path, MOST_BYTES.list);
  const ending = extname(path).toLowerCase();
  if (ending === '.csv' || ending === '.tsv') return tableRecords(text, path, wanted, ending === '.tsv');
  const records = ending === '.json' ? jsonRecords(text, path) : jsonLines(text, path);
  return records.map(({ where, value }) => ({ where, value: withLowerKeys(value) }));
}

function tableRecords(text: string, path: string, wanted: readonly (readonly string[])[], tabs: boolean): Listed[] {
  const { columns, rows } = readTable(text, path, tabs);
  const absent = wanted.find((names) => !names.some((name) => columns.includes(name)));
  if (absent) {
    const others = absent.length > 1 ? ` (or ${absent.slice(1).join(', ')})` : '';
    const has = columns.length === 0 ? 'it is empty' : `it has ${shown(columns.map((c) => `"${c}"`).join(', '))}`;
    throw new FormatError(`${path}:1`, `has no column "${absent[0]}"${others}; ${has}`,
      'The first line must name the columns.');
  }
  return rows.map(({ line, cells }) => ({ where: `${path}:${line}`, value: cells }));
}

/** One value a line; empty lines are passed over. @throws FormatError with the line */
export function jsonLines(text: string, path: string): Listed[] {
  return linesOf(text).flatMap((line, i) => {
    if (line.trim() === '') return [];
    return [{ where: `${path}:${i + 1}`, value: parse(line, `${path}:${i + 1}`) }];
  });
}

/** An array, an object that holds nothing but one, or (as some write it) JSON lines. */
function jsonRecords(text: string, path: string): Listed[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const [first = ''] = linesOf(text.trimStart());
    if (isJson(first)) return jsonLines(text, path);
    parse(text, path, true);
  }
  if (isObject(value)) {
    const [list, ...others] = Object.values(value);
    value = others.length === 0 && Array.isArray(list) ? list : [value];
  }
  if (!Array.isArray(value)) throw new FormatError(path, 'holds no list', 'Write ["…", "…"] or [{"prompt": "…"}].');
  return value.map((item: unknown, i) => ({ where: `${path}, item ${i + 1}`, value: item }));
}

function isJson(text: string): boolean {
  try {
    return text.trim() !== '' && typeof JSON.parse(text) !== 'undefined';
  } catch {
    return false;
  }
}

/** @throws FormatError with what V8 found, and for a whole file where */
function parse(text: string, where: string, whole = false): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const { message } = cause as Error;
    throw new FormatError(whole ? `${where}:${place(text, firstWrong(text))}` : where, `not JSON (${shown(message)})`,
      'In .jsonl each line is a JSON value of its own, in .json the file is one.', { cause });
  }
}

/** The character from which on a text is no JSON, by bisection: V8 does not always tell it. */
function firstWrong(text: string): number {
  let [from, to] = [0, Math.min(text.length, 1 << 20)];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (mayGoOn(text.slice(0, middle + 1))) from = middle + 1;
    else to = middle;
  }
  return from;
}

function mayGoOn(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    return /^(Unexpected end|Unterminated)/.test((error as Error).message);
  }
}

const withLowerKeys = (value: unknown): unknown => (isObject(value)
  ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key.trim().toLowerCase(), item]))
  : value);

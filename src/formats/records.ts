/** @file Lists of records in one of the ways that people keep them: CSV, TSV, JSON lines, one JSON array, or Parquet. */
import { extname } from 'node:path';
import { FormatError, shown } from './errors.js';
import { isObject } from './json.js';
import { readParquet } from './parquet.js';
import { readTable } from './table.js';
import { linesOf, place, readTextFile } from './text-file.js';
import { MOST_BYTES } from './whole-file.js';

/** A value, of tables an object of texts, with where it stands. */
export interface Listed {
  readonly where: string;
  readonly value: unknown;
  /** Where its value of that key stands, or would. */
  at(key: string): string;
}

const inJson = (where: string, value: unknown): Listed => ({ where, value: withLowerKeys(value), at: (key) => `${where}, "${key}"` });

/** What a list's file may end in. */
export const RECORD_ENDINGS = ['.csv', '.tsv', '.jsonl', '.ndjson', '.json', '.parquet'];

/**
 * Reads a list of records; keys and names of columns are in lower case.
 *
 * @param wanted for a table: one column of each group must be there
 * @throws FormatError with the line (of Parquet, the row) that is wrong
 */
export async function readRecords(path: string, wanted: readonly (readonly string[])[]): Promise<Listed[]> {
  const ending = extname(path).toLowerCase();
  if (ending === '.parquet') return parquetRecords(path, wanted);
  const text = await readTextFile(path, MOST_BYTES.list);
  if (ending === '.csv' || ending === '.tsv') return tableRecords(text, path, wanted, ending === '.tsv');
  return ending === '.json' ? jsonRecords(text, path) : jsonLines(text, path);
}

function tableRecords(text: string, path: string, wanted: readonly (readonly string[])[], tabs: boolean): Listed[] {
  const { columns, rows } = readTable(text, path, tabs);
  checkColumns(columns, wanted, `${path}:1`, 'The first line must name the columns.');
  return rows.map(({ line, cells }) => ({
    where: `${path}:${line}`, value: cells,
    at: (key) => `${path}:${line}${columns.includes(key) ? `, column ${columns.indexOf(key) + 1}` : ''}`,
  }));
}

function checkColumns(columns: readonly string[], wanted: readonly (readonly string[])[], where: string, remedy: string): void {
  const absent = wanted.find((names) => !names.some((name) => columns.includes(name)));
  if (!absent) return;
  const others = absent.length > 1 ? ` (or ${absent.slice(1).join(', ')})` : '';
  const has = columns.length === 0 ? 'it is empty' : `it has ${shown(columns.map((c) => `"${c}"`).join(', '))}`;
  throw new FormatError(where, `has no column "${absent[0]}"${others}; ${has}`, remedy);
}

async function parquetRecords(path: string, wanted: readonly (readonly string[])[]): Promise<Listed[]> {
  const { columns, rows } = await readParquet(path);
  checkColumns(columns, wanted, path, 'Rename the column that is meant; columns of texts and numbers are read.');
  return rows.map(({ row, cells }) => ({ where: `${path}, row ${row}`, value: cells, at: (key) => `${path}, row ${row}, column "${key}"` }));
}

/** One value a line; empty lines are passed over. @throws FormatError with the line */
export function jsonLines(text: string, path: string): Listed[] {
  return linesOf(text).flatMap((line, i) => {
    if (line.trim() === '') return [];
    return [inJson(`${path}:${i + 1}`, parse(line, (at) => `${path}:${i + 1}:${at + 1}`))];
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
    parse(text, (at) => `${path}:${place(text, at)}`);
  }
  let depth = 1;
  if (isObject(value)) {
    const [list, ...others] = Object.values(value);
    [value, depth] = others.length === 0 && Array.isArray(list) ? [list, 2] : [[value], 0];
  }
  if (!Array.isArray(value)) throw new FormatError(path, 'holds no list', 'Write ["…", "…"] or [{"prompt": "…"}].');
  const starts = itemStarts(text, depth);
  return value.map((item: unknown, i): Listed => {
    // Told only where something is wrong: to count lines for each would take long.
    const where = (): string => `${path}:${place(text, starts[i] ?? 0)}, item ${i + 1}`;
    return { value: withLowerKeys(item), get where() { return where(); }, at: (key) => `${where()}, "${key}"` };
  });
}

/** Where the items of the first list at a depth begin, in a text that is JSON. */
function itemStarts(text: string, depth: number): number[] {
  const starts: number[] = [];
  let [at, due] = [0, false];
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},]|[^\s[\]{},"]+/gs)) {
    const closes = token === ']' || token === '}';
    if (due && !closes) starts.push(index);
    due = false;
    if (token === '[' || token === '{') at += 1;
    else if (closes) at -= 1;
    if (at === depth && (token === '[' || token === ',')) due = true;
  }
  return starts;
}

function isJson(text: string): boolean {
  try {
    return text.trim() !== '' && typeof JSON.parse(text) !== 'undefined';
  } catch {
    return false;
  }
}

/** @throws FormatError with what V8 found. @param where the place of a character */
function parse(text: string, where: (at: number) => string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const { message } = cause as Error;
    const told = /at position (\d+)/.exec(message)?.[1];
    throw new FormatError(where(told === undefined ? firstWrong(text) : Number(told)), `not JSON (${shown(message)})`,
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

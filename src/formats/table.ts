/** @file Tables of separated values with a header: comma, semicolon or tab, read strictly by csv-parse. */
import { CsvError, parse } from 'csv-parse/sync';
import { FormatError, shown } from './errors.js';
import { linesOf } from './text-file.js';

/** Cells by the name of their column, in lower case. */
export interface TableRow {
  /** Where the row ends. */
  readonly line: number;
  readonly cells: Readonly<Record<string, string>>;
}

const SEPARATORS = [',', ';', '\t'] as const;
const NAMES: Readonly<Record<string, string>> = { ',': 'commas', ';': 'semicolons', '\t': 'tabs' };

/**
 * The rows of a table whose first one names the columns. Empty rows are passed over, rows with fewer cells than columns
 * lack the last ones, further cells must be empty.
 *
 * @param tabs whether tabs separate the cells; else it is what there is most of in the header
 * @throws FormatError with the line (and column) that is wrong
 */
export function readTable(text: string, where: string, tabs = false): { columns: string[]; rows: TableRow[] } {
  const { separator, skipped } = separatorOf(text, tabs);
  const records = parsed(text, where, separator, skipped);
  const [header, ...rest] = records.filter(({ record }) => record.some((cell) => cell !== ''));
  const columns = (header?.record ?? []).map((cell) => cell.toLowerCase());
  while (columns.at(-1) === '') columns.pop();
  const seen = new Set<string>();
  const twice = columns.find((name) => name !== '' && seen.size === seen.add(name).size);
  if (twice !== undefined) {
    throw new FormatError(`${where}:${header!.info.lines}`, `names the column "${shown(twice)}" twice`, 'Rename one.');
  }
  const rows = rest.map(({ record, info: { lines: line } }) => {
    if (record.slice(columns.length).some((cell) => cell !== '')) {
      throw new FormatError(`${where}:${line}, column ${columns.length + 1}`,
        `has ${record.length} cells where the header names ${columns.length} (separated by ${NAMES[separator]})`,
        'Put a text that has a separator in it into double quotes.');
    }
    return { line, cells: Object.fromEntries(columns.map((name, i) => [name, record[i]]).filter(([, c]) => c !== undefined)) as Record<string, string> };
  });
  return { columns, rows };
}

interface Parsed {
  record: string[];
  info: { lines: number };
}

function parsed(text: string, where: string, delimiter: string, skipped: number): Parsed[] {
  let last = skipped; // the line on which the row before ends
  try {
    return parse(text, {
      delimiter, trim: true, info: true, skip_empty_lines: true, relax_column_count: true, from_line: skipped + 1,
      // Within a cell of a table with tabs a quote is mostly a quote: such tables are often written without any rule.
      relax_quotes: delimiter === '\t',
      record_delimiter: ['\r\n', '\n', '\r'],
      on_record: (record: unknown, { lines }: { lines: number }) => {
        last = lines;
        return record as string[];
      },
    }) as unknown as Parsed[];
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    const { lines, column, code } = cause as CsvError & { lines: number; column?: number };
    const [line, problem] = code === 'CSV_QUOTE_NOT_CLOSED'
      ? [last + 1, 'has a double quote that is never closed']
      : [lines, 'has a double quote in the wrong place'];
    throw new FormatError(`${where}:${line}, column ${Number(column ?? 0) + 1}`, problem,
      'Put the whole cell into double quotes, and double each that belongs to the text.', { cause });
  }
}

/** Excel may say the separator in a first line of its own: `sep=;`. */
function separatorOf(text: string, tabs: boolean): { separator: string; skipped: number } {
  const first = linesOf(text.slice(0, 1 << 16)).find((line) => line.trim() !== '') ?? '';
  const [, told] = /^"?sep=([,;\t])"?$/i.exec(first.trimEnd()) ?? [];
  if (told !== undefined) return { separator: told, skipped: 1 };
  if (tabs) return { separator: '\t', skipped: 0 };
  const plain = first.replace(/"[^"]*"/g, '');
  const count = (separator: string): number => plain.split(separator).length;
  return { separator: SEPARATORS.toSorted((a, b) => count(b) - count(a))[0]!, skipped: 0 };
}

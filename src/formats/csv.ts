/** @file Comma-separated values (RFC 4180). */

/** Rows of cells; quotes are taken off, spaces before a cell too. */
export function csvRows(text: string): string[][] {
  const rows: string[][] = [[]];
  const cell = /\s*?(?:"((?:[^"]|"")*)"|([^,\n\r]*))(,|\r?\n|\r|$)/gy;
  for (let match = cell.exec(text); match && cell.lastIndex <= text.length; match = cell.exec(text)) {
    rows.at(-1)!.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? '');
    if (match[3] === '' || cell.lastIndex === text.length) break;
    if (match[3] !== ',') rows.push([]);
  }
  return rows;
}

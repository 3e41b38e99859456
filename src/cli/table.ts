/** @file Plain tables for people. */
import { inLine } from './output.js';

/** Lines of left-aligned columns, two spaces apart. */
export function table(given: readonly (readonly string[])[]): string[] {
  const rows = given.map((row) => row.map(inLine));
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join('  ').trimEnd());
}

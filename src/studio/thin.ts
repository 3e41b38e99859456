/** @file Long curves made short enough to be sent and drawn: rows chosen so that every low and high is among them. */
import type { MetricsRow } from '../runs/rows.js';
import type { Columns } from './messages.js';

/** Rows that a page is sent of a run at first. */
const MOST_ROWS = 4000;

/** Columns that rise steadily: their extremes are the ends. */
const STEADY = new Set(['step', 'seconds', 'rewardQueries', 'denoiserCalls', 'lr']);

/**
 * At most about `most` of the rows, in their order: all with an evaluation, the first and the last, and of every stretch
 * of the others those with the least and the most of each column.
 */
export function thinned(rows: readonly MetricsRow[], most = MOST_ROWS): readonly MetricsRow[] {
  if (rows.length <= most) return rows;
  const names = [...new Set([...keysOf(rows[1]), ...keysOf(rows.at(-1))])].filter((name) => !STEADY.has(name));
  const stretches = Math.max(1, Math.floor(most / (2 * Math.max(1, names.length))));
  const kept = new Set([0, rows.length - 1]);
  for (let s = 0; s < stretches; s++) {
    const [from, to] = [Math.floor((s * rows.length) / stretches), Math.floor(((s + 1) * rows.length) / stretches)];
    for (const name of names) {
      let [low, high] = [-1, -1];
      for (let i = from; i < to; i++) {
        const value = rows[i]![name];
        if (value === undefined) continue;
        if (low < 0 || value < rows[low]![name]!) low = i;
        if (high < 0 || value > rows[high]![name]!) high = i;
      }
      if (low >= 0) kept.add(low).add(high);
    }
  }
  rows.forEach((row, i) => row.evalReward !== undefined && kept.add(i));
  return [...kept].toSorted((a, b) => a - b).map((i) => rows[i]!);
}

const keysOf = (row: MetricsRow | undefined): string[] => Object.keys(row ?? {});

/** Six digits: more than a screen shows. */
const short = (value: number): number => Number(value.toPrecision(6));

export function columnsOf(rows: readonly MetricsRow[]): Columns {
  const names = new Set(rows.flatMap(keysOf)).add('step');
  return Object.fromEntries([...names].map((name) => [name, rows.map((row) => {
    const value = row[name];
    return value === undefined ? null : name === 'step' ? value : short(value);
  })]));
}

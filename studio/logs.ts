/** @file The logs of runs as far as this page knows them: rows by column and pictures, which only ever get more. */
import { signal } from '@preact/signals';
import type { Signal } from '@preact/signals';
import type { LogPart, Picture } from '../src/studio/messages.js';

export type Values = (number | null)[];

export interface RunLog {
  /** By name; all of one length. */
  readonly columns: Map<string, Values>;
  pictures: Picture[];
  thinnedFrom: number | null;
  /** Up to where it is known, as the server counts. */
  cursor: string;
  /** Counts what has come. */
  readonly version: Signal<number>;
}

const logs = new Map<string, RunLog>();

export function logOf(run: string): RunLog {
  const known = logs.get(run);
  if (known) return known;
  const log: RunLog = { columns: new Map([['step', []]]), pictures: [], thinnedFrom: null, cursor: '0-0', version: signal(0) };
  logs.set(run, log);
  return log;
}

export const column = (log: RunLog, name: string): Values => log.columns.get(name) ?? [];

/** Takes in what has come. A row of a step that is there already takes its place, and that of all after it. */
export function takePart({ run, anew, thinnedFrom, rows, pictures }: LogPart, cursor: string): void {
  const log = logOf(run);
  log.cursor = cursor;
  const steps = rows['step'] as number[];
  if (anew) {
    log.columns.clear();
    log.columns.set('step', []);
    log.pictures = [];
    log.thinnedFrom = thinnedFrom;
  }
  const known = column(log, 'step') as number[];
  let keep = known.length;
  while (keep > 0 && steps.length > 0 && known[keep - 1]! >= steps[0]!) keep -= 1;
  for (const values of log.columns.values()) values.length = keep;
  for (const [name, values] of Object.entries(rows)) {
    const all = log.columns.get(name) ?? Array.from({ length: keep }, () => null);
    log.columns.set(name, all);
    all.push(...values);
  }
  for (const values of log.columns.values()) while (values.length < keep + steps.length) values.push(null);
  const newer = new Set(pictures.map(nameOf));
  log.pictures = [...log.pictures.filter((p) => !newer.has(nameOf(p))), ...pictures];
  log.version.value += 1;
}

const nameOf = ({ step, strength, index }: Picture): string => `${step} ${strength} ${index}`;

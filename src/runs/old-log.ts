/** @file Runs of before there was a log: what their `metrics.jsonl` tells, as rows and as the events that they stand for. */
import type { FormatError } from '../formats/errors.js';
import { MOST_BYTES, readTextIfThere } from '../formats/whole-file.js';
import type { NewEvent } from './events.js';
import { evaluationOf, evaluationRow, parseRows, spentOf } from './rows.js';
import type { MetricsRow } from './rows.js';

/** The rows of a `metrics.jsonl`; none if there is none. @param onBad told of each line that is none */
export async function oldRows(path: string, onBad: (error: FormatError) => void): Promise<MetricsRow[]> {
  return parseRows((await readTextIfThere(path, MOST_BYTES.log)) ?? '', path, 'It is left out.', onBad);
}

/** An update, an evaluation, or both. */
export function rowEvents(row: MetricsRow): NewEvent[] {
  const evaluation = evaluationOf(row);
  const update: NewEvent = { type: 'step', row, ...(evaluation && { evaluationFollows: true }) };
  const events: NewEvent[] = row.reward === undefined ? [] : [update];
  if (evaluation) events.push({ type: 'evaluation', row: { ...evaluationRow(evaluation), ...spentOf(row) } });
  return events;
}

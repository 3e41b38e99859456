/** @file What is measured of a step, as a row: a line of `metrics.jsonl`, and part of the events of the log. */
import { z } from 'zod';
import { evaluationFields, withHeldOutError } from '../evaluation/evaluation.js';
import type { Evaluation } from '../evaluation/evaluation.js';
import { FormatError } from '../formats/errors.js';
import { problemOf } from '../formats/plain-issues.js';

const measure = z.number().optional();
/** What an evaluation measures under the same name in a row. */
const { step: _step, reward: _reward, rewardParts: _parts, ...measures } = evaluationFields.shape;
const MEASURED = Object.keys(measures) as (keyof typeof measures)[];

/** A line: an update, an evaluation, or an update that was followed by one. What was not measured is not there. */
export const rowSchema = withHeldOutError(z.object({
  step: z.number(),
  // of the update
  reward: measure, loss: measure, gradNorm: measure, ownGradNorm: measure, lr: measure,
  // of the evaluation; the parts of a weighted sum are `evalReward/<name>`
  evalReward: measure, ...measures,
  // spent until then
  rewardQueries: measure, denoiserCalls: measure, seconds: measure,
}).catchall(z.number())); // the method's own scalars

export type MetricsRow = Readonly<z.infer<typeof rowSchema>>;

const PART = 'evalReward/';

const measured = (from: Partial<Record<string, unknown>>): object =>
  Object.fromEntries(MEASURED.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]])));

/** The columns of an evaluation. */
export function evaluationRow(evaluation: Evaluation): MetricsRow {
  const { step, reward, rewardParts = {} } = evaluation;
  const parts = Object.entries(rewardParts).map(([name, r]) => [`${PART}${name}`, r] as const);
  return { step, evalReward: reward, ...Object.fromEntries(parts), ...measured(evaluation) };
}

/** The evaluation in a line, or null if there is none. */
export function evaluationOf(row: MetricsRow): Evaluation | null {
  if (row.evalReward === undefined) return null;
  const parts = Object.entries(row).flatMap(([key, value]) => (key.startsWith(PART) ? [[key.slice(PART.length), value] as const] : []));
  return {
    step: row.step, reward: row.evalReward, ...(parts.length > 0 && { rewardParts: Object.fromEntries(parts) as Record<string, number> }), ...measured(row),
  };
}

/** What was spent until then: the last columns of a line. */
export const spentOf = ({ rewardQueries, denoiserCalls, seconds }: MetricsRow): Record<string, number> =>
  Object.fromEntries(Object.entries({ rewardQueries, denoiserCalls, seconds }).flatMap(([k, v]) => (v === undefined ? [] : [[k, v]])));

/** An update, if there was one, and the evaluation that followed it, as one line. */
export function joinedRow(update: MetricsRow | null, evaluation: MetricsRow): MetricsRow {
  const both = { ...update, ...evaluation };
  const spent = spentOf(both);
  return { ...Object.fromEntries(Object.entries(both).filter(([key]) => !Object.hasOwn(spent, key))), ...spent } as MetricsRow;
}

/** A line of the file, its end included. */
export const rowText = (row: MetricsRow): string => `${JSON.stringify(row)}\n`;

/**
 * The lines of a file's text; one that was cut short by a crash is none, and neither is a number that is null, as JSON
 * writes one that is not finite.
 *
 * @param path for messages
 * @param onBad told of each line that is none of ours, which is then passed over; thrown by default
 */
export function parseRows(
  text: string, path: string, remedy: string,
  onBad: (error: FormatError) => void = (error) => {
    throw error;
  },
): MetricsRow[] {
  return text.split('\n').slice(0, -1).flatMap((line, i) => {
    const bad = (problem: string): [] => {
      onBad(new FormatError(path, `line ${i + 1} ${problem}`, remedy));
      return [];
    };
    let value: unknown;
    try {
      value = JSON.parse(line, (_, v: unknown) => (v === null ? undefined : v));
    } catch {
      return bad('is not JSON');
    }
    const parsed = rowSchema.safeParse(value);
    if (parsed.success) return [value as MetricsRow]; // its keys in their order
    const { path: key, text } = problemOf(parsed.error, value);
    return bad(`is no line of a run: ${key || 'the line'}: ${text}`);
  });
}

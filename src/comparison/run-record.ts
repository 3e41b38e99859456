/** @file What a run folder says of its run, as comparisons use it: evaluations with what each had cost by then. */
import { join } from 'node:path';
import type { z } from 'zod';
import type { Compared } from '../evaluation/compared.js';
import type { Evaluation } from '../evaluation/evaluation.js';
import { FormatError } from '../formats/errors.js';
import { problemOf } from '../formats/plain-issues.js';
import { logPath } from '../runs/event-log.js';
import { evaluationOf, parseRows } from '../runs/rows.js';
import type { MetricsRow } from '../runs/rows.js';
import { recordSchema } from '../runs/summary.js';
import { readView } from '../runs/view.js';
import { MOST_BYTES, readText, readTextIfThere } from '../formats/whole-file.js';

/** An evaluation, and what training had cost until then. */
export type RunPoint = Evaluation & {
  readonly rewardQueries: number;
  readonly denoiserCalls: number;
  readonly seconds: number;
};

/** The best checkpoint's LoRA at a strength. */
export type StrengthPoint = Evaluation & { readonly strength: number };

export interface RunRecord {
  readonly entry: string;
  readonly seed: number;
  /** The base model's first; a baseline has one point. */
  readonly points: readonly RunPoint[];
  /** Index of the one that the run itself chose as its best, whose weights it saved. */
  readonly best: number;
  /** Of that one. */
  readonly sweep: readonly StrengthPoint[];
  /** That one where it was not chosen; the headline first. */
  readonly reported: readonly Compared[];
  readonly peakBytes: number;
  /** See `recordSchema`. */
  readonly independentFrechet: number | null;
}

const REMEDY = 'Delete its run folder; the run is then made again.';

const json = (text: string, path: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    throw new FormatError(path, 'is not JSON', REMEDY);
  }
};

function parsed<T>(schema: z.ZodType<T>, value: unknown, path: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path: key, text } = problemOf(result.error, value);
  throw new FormatError(path, `${key}: ${text}`, REMEDY);
}

/** Evaluations and the last row, with the file that they are from; of a run of before there was a log all rows. */
async function rowsOf(folder: string): Promise<{ rows: readonly MetricsRow[]; path: string }> {
  const view = await readView(folder, { skim: true });
  if (view) return { rows: view.rows, path: logPath(folder) };
  const path = join(folder, 'metrics.jsonl');
  return { rows: parseRows((await readTextIfThere(path, MOST_BYTES.log)) ?? '', path, REMEDY), path };
}

/** What a run has spent so far, from its last row. */
export async function spentSoFar(folder: string): Promise<{ step: number; rewardQueries: number; seconds: number }> {
  const { step = 0, rewardQueries = 0, seconds = 0 } = (await rowsOf(folder).then(({ rows }) => rows.at(-1), () => null)) ?? {};
  return { step, rewardQueries, seconds };
}

/** A finished run. @throws FormatError naming the file and field that is missing or wrong */
export async function readRun(folder: string, entry: string, seed: number): Promise<RunRecord> {
  const { rows, path: metrics } = await rowsOf(folder);
  const cost = (row: MetricsRow, name: 'rewardQueries' | 'denoiserCalls' | 'seconds'): number => {
    const value = row[name];
    if (value === undefined) throw new FormatError(metrics, `the evaluation at step ${row.step} has no ${name}`, REMEDY);
    return value;
  };
  const points = rows.flatMap((row): RunPoint[] => {
    const evaluation = evaluationOf(row);
    return evaluation === null ? [] : [{
      ...evaluation, rewardQueries: cost(row, 'rewardQueries'), denoiserCalls: cost(row, 'denoiserCalls'), seconds: cost(row, 'seconds'),
    }];
  });
  if (points.length === 0) throw new FormatError(metrics, 'holds no evaluation', REMEDY);
  const path = join(folder, 'summary.json');
  const { peakBytes, sweep, reported, best, independentFrechet = null } =
    parsed(recordSchema, json(await readText(path, MOST_BYTES.json), path), path);
  const at = points.findIndex((p) => p.step === best);
  if (at < 0) throw new FormatError(path, `best: there is no evaluation at step ${best} in ${metrics}`, REMEDY);
  return { entry, seed, points, best: at, sweep, reported, peakBytes, independentFrechet };
}

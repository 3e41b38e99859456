/** @file What a run folder says of its run, as comparisons use it: evaluations with what each had cost by then. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { judge } from '../evaluation/hacking-guard.js';
import type { Evaluation, GuardOptions } from '../evaluation/hacking-guard.js';
import { FormatError } from '../formats/errors.js';

/** An evaluation, and what training had cost until then. */
export interface RunPoint extends Evaluation {
  readonly rewardQueries: number;
  readonly denoiserCalls: number;
  readonly seconds: number;
}

/** The best checkpoint's LoRA at a strength. */
export interface StrengthPoint extends Evaluation {
  readonly strength: number;
}

export interface RunRecord {
  readonly entry: string;
  readonly seed: number;
  /** The base model's first; a baseline has one point. */
  readonly points: readonly RunPoint[];
  /** Index of the best of them by the guard's rule. */
  readonly best: number;
  readonly sweep: readonly StrengthPoint[];
  readonly peakBytes: number;
}

const numbers = z.object({
  step: z.number(), heldOutReward: z.number().optional(), diversity: z.number(), frechet: z.number(),
});
const evaluationRow = numbers.extend({
  evalReward: z.number(), rewardQueries: z.number(), denoiserCalls: z.number(), seconds: z.number(),
});
const summary = z.object({
  peakBytes: z.number(),
  sweep: z.array(numbers.extend({ strength: z.number(), reward: z.number() })).default([]),
});

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
  const { path: key, message } = result.error.issues[0]!;
  throw new FormatError(path, `${key.join('.')}: ${message}`, REMEDY);
}

/** Lines of `metrics.jsonl`; one cut short by a crash is none. */
async function rows(folder: string): Promise<Record<string, unknown>[]> {
  const path = join(folder, 'metrics.jsonl');
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').slice(0, -1).map((line) => json(line, path) as Record<string, unknown>);
}

/** What a run has spent so far, from its last line. */
export async function spentSoFar(folder: string): Promise<{ step: number; rewardQueries: number; seconds: number }> {
  const last = (await rows(folder).catch(() => [])).at(-1) ?? {};
  const number = (key: string): number => Number(last[key] ?? 0);
  return { step: number('step'), rewardQueries: number('rewardQueries'), seconds: number('seconds') };
}

/** A finished run. @throws FormatError naming the file and field that is missing or wrong */
export async function readRun(folder: string, entry: string, seed: number, guard: GuardOptions): Promise<RunRecord> {
  const metrics = join(folder, 'metrics.jsonl');
  const points = (await rows(folder)).filter((row) => row['evalReward'] !== undefined).map((row): RunPoint => {
    const { evalReward, heldOutReward, ...rest } = parsed(evaluationRow, row, metrics);
    return { ...rest, reward: evalReward, ...(heldOutReward !== undefined && { heldOutReward }) };
  });
  if (points.length === 0) throw new FormatError(metrics, 'holds no evaluation', REMEDY);
  const path = join(folder, 'summary.json');
  const { peakBytes, sweep } = parsed(summary, json(await readFile(path, 'utf8'), path), path);
  const strengths = sweep.map(({ heldOutReward, ...s }): StrengthPoint =>
    ({ ...s, ...(heldOutReward !== undefined && { heldOutReward }) }));
  return { entry, seed, points, best: judge(points, guard).best, sweep: strengths, peakBytes };
}

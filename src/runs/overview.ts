/** @file A run in a few facts, for lists and comparisons of runs; and where runs lie below a folder. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Evaluation } from '../evaluation/evaluation.js';
import { readJsonFile } from '../formats/json-file.js';
import { oldRows } from './old-log.js';
import { evaluationOf } from './rows.js';
import type { MetricsRow } from './rows.js';
import { readSettings } from './settings.js';
import type { Settings } from './settings.js';
import { standingOf } from './state.js';
import type { RunState, Standing } from './state.js';

export interface Overview {
  readonly folder: string;
  readonly state: RunState;
  readonly reason: string | null;
  readonly settings: Settings;
  /** Updates done, as far as they are written down. */
  readonly step: number;
  /** Step of the last checkpoint; null if none is known. */
  readonly checkpoint: number | null;
  /** Where checkpoints are chosen: the base model, the best by the guard's rule, and the last. Null before the first. */
  readonly base: Evaluation | null;
  readonly best: Evaluation | null;
  readonly last: Evaluation | null;
  /** Why the guard would have the run stop, or had it stop; null if it does not, or has seen nothing yet. */
  readonly guard: string | null;
  /** Whether that ended it. */
  readonly guarded: boolean;
  /** When it was begun and last heard of, in milliseconds since 1970; null where that is not written down. */
  readonly began: number | null;
  readonly time: number;
}

/** What an overview takes from the summary of a run of before there was a log. */
const oldSummary = z.object({
  best: z.number().optional(),
  ended: z.union([z.string(), z.object({ guard: z.string() })]).optional(),
});

/**
 * @param given how it stands, where that is known already
 * @throws FormatError if its settings or its log cannot be read
 */
export async function overviewOf(folder: string, given?: Standing): Promise<Overview & { readonly standing: Standing }> {
  const settings = await readSettings(folder);
  const standing = given ?? await standingOf(folder, true);
  const { state, reason, view } = standing;
  const rows = view?.rows ?? await oldRows(join(folder, 'metrics.jsonl'), () => {});
  const evaluations = rows.map(evaluationOf).filter((e) => e !== null);
  const old = view ? {} : oldSummary.safeParse(await readJsonFile(join(folder, 'summary.json')).catch(() => ({}))).data ?? {};
  const judged = view?.evaluations.at(-1);
  const best = judged?.best ?? old.best;
  const stopped = view?.ended?.how === 'guard' ? view.ended.reason ?? 'unknown' : typeof old.ended === 'object' ? old.ended.guard : null;
  return {
    folder, state, reason, settings, standing,
    step: (rows.at(-1) as MetricsRow | undefined)?.step ?? 0,
    checkpoint: view ? view.checkpoints.at(-1)?.step ?? null : await newestCheckpoint(folder),
    base: evaluations[0] ?? null,
    best: evaluations.findLast((e) => e.step === best) ?? null,
    last: evaluations.at(-1) ?? null,
    guard: stopped ?? judged?.stop ?? null,
    guarded: stopped !== null,
    began: view?.opened[0]?.time ?? null,
    time: view?.time ?? (await stat(join(folder, 'config.yaml'))).mtimeMs,
  };
}

/** By the names of the checkpoints' folders. */
async function newestCheckpoint(folder: string): Promise<number | null> {
  const names = await readdir(join(folder, 'checkpoints')).catch(() => [] as string[]);
  return names.reduce<number | null>((newest, name) => (/^step-\d{6,}$/.test(name) ? Math.max(newest ?? 0, Number(name.slice(5))) : newest), null);
}

const isFile = (path: string): Promise<boolean> => stat(path).then((s) => s.isFile(), () => false);

/** Files one of which every run has that has begun, beside its settings. */
const SIGNS = ['events.jsonl', 'manifest.json', 'metrics.jsonl'];

/** Whether a folder is a run's. */
export async function isRun(folder: string): Promise<boolean> {
  if (!(await isFile(join(folder, 'config.yaml')))) return false;
  return (await Promise.all(SIGNS.map((name) => isFile(join(folder, name))))).includes(true);
}

/** Deeper than the runs of a comparison below a folder of runs. */
const DEPTH = 6;
const MOST_FOLDERS = 20_000;

/** The runs at or below a folder, links not followed. @throws the system's error if it cannot be read */
export async function findRuns(root: string): Promise<string[]> {
  const found: string[] = [];
  let seen = 0;
  async function look(folder: string, depth: number): Promise<void> {
    if (await isRun(folder)) {
      found.push(folder);
      return;
    }
    if (depth === DEPTH) return;
    const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
      if (depth === 0) throw error;
      return []; // not ours to read
    });
    for (const entry of entries) {
      if (!entry.isDirectory() || entry.name.startsWith('.') || entry.name === 'node_modules') continue;
      if ((seen += 1) > MOST_FOLDERS) return;
      await look(join(folder, entry.name), depth + 1);
    }
  }
  await look(root, 0);
  return found;
}

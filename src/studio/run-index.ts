/** @file The runs below a folder, each by a name that is looked up; and each of them in a few facts, kept up to date. */
import { stat } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { exists } from '../formats/exists.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { findRuns, overviewOf } from '../runs/overview.js';
import type { Overview } from '../runs/overview.js';
import { standingOf } from '../runs/state.js';
import type { Standing } from '../runs/state.js';
import { follow } from './follow.js';
import type { Followed } from './follow.js';
import type { Doing, RunSummary } from './messages.js';

export interface RunIndex {
  readonly root: string;
  /** All runs, the one last heard of first. */
  summaries(): Promise<RunSummary[]>;
  /** The folder of a run; null if there is none of that name. */
  folderOf(id: string): Promise<string | null>;
  /** The log of a run in full, followed from now on. */
  followed(id: string): Promise<Followed | null>;
}

interface Entry {
  readonly folder: string;
  readonly skimmed: Followed;
  /** Of what it was made when. */
  key: string;
  summary: RunSummary | null;
}

/** Milliseconds between looks for new runs: one that has begun is found the moment after. */
const LOOK = 1000;
/** Logs that are kept in memory in full. */
const MOST_FOLLOWED = 12;
/** Warnings that a page is told. */
const MOST_WARNINGS = 20;

export function openRunIndex(given: string): RunIndex {
  const root = resolve(given);
  let entries = new Map<string, Entry>();
  const full = new Map<string, Followed>();
  let looked = -Infinity;
  let looking: Promise<void> | null = null;

  async function look(): Promise<void> {
    const folders = await findRuns(root).catch(() => [] as string[]); // none yet
    const found = new Map<string, Entry>();
    for (const folder of folders) {
      const id = relative(root, folder).split(sep).join('/') || '.';
      found.set(id, entries.get(id) ?? { folder, skimmed: follow(folder, true), key: '', summary: null });
    }
    entries = found;
    for (const id of full.keys()) if (!found.has(id)) full.delete(id);
    looked = performance.now();
  }
  const fresh = (): Promise<void> => (performance.now() - looked < LOOK ? Promise.resolve() : (looking ??= look().finally(() => (looking = null))));

  /** A name that is not known may be that of a run that has just begun. */
  async function entryOf(id: string): Promise<Entry | null> {
    if (!entries.has(id)) await fresh();
    return entries.get(id) ?? null;
  }

  return {
    root,
    async summaries() {
      await fresh();
      const all: RunSummary[] = [];
      for (const [id, entry] of entries) all.push(await summaryOf(id, entry)); // one log in memory at a time
      return all.toSorted((a, b) => b.time - a.time);
    },
    folderOf: async (id) => (await entryOf(id))?.folder ?? null,
    async followed(id) {
      const entry = await entryOf(id);
      if (!entry) return null;
      const log = full.get(id) ?? follow(entry.folder, false);
      full.delete(id); // the one last asked for is the last to go
      full.set(id, log);
      for (const old of [...full.keys()].slice(0, -MOST_FOLLOWED)) full.delete(old);
      return log;
    },
  };
}

async function summaryOf(id: string, entry: Entry): Promise<RunSummary> {
  const { folder, skimmed } = entry;
  try {
    const standing = await standingOf(folder, () => skimmed.refresh());
    // A log that does not grow tells the same: of a hundred runs most are at rest.
    const config = await stat(join(folder, 'config.yaml'));
    const key = [skimmed.cursor, standing.state, standing.reason, standing.stopping, config.mtimeMs].join();
    if (!entry.summary || entry.key !== key) {
      entry.summary = summaryFrom(id, await overviewOf(folder, standing), standing, skimmed, await exists(join(folder, 'report.html')));
      entry.key = key;
    }
    return entry.summary;
  } catch (error) {
    return unreadable(id, error instanceof Error ? error.message : String(error));
  }
}

function summaryFrom(id: string, run: Overview, standing: Standing, log: Followed, report: boolean): RunSummary {
  const { settings, state, reason, step, checkpoint, base, best, last, guard, guarded, began, time } = run;
  const { view } = standing;
  const cover = view?.images.findLast((image) => image.step === (best?.step ?? 0) && image.strength === 1);
  const curve = (view?.rows ?? []).flatMap((row) => (row.evalReward === undefined ? [] : [[row.step, row.evalReward] as const]));
  return {
    id, state, reason: reason === null ? null : withoutSecrets(reason), stopping: standing.stopping,
    method: settings.method.name, model: settings.model, rewards: settings.rewards.map(withoutSecrets), seed: settings.seed,
    step, steps: settings.steps, checkpoint, again: settings.again ?? null, base, best, last, guard, guarded, began, time, report, curve,
    doing: state === 'running' ? doingOf(standing, log, step, settings.steps) : null,
    warnings: (view?.warnings ?? []).slice(0, MOST_WARNINGS).map(({ text }) => withoutSecrets(text)),
    cover: cover ? { step: cover.step, strength: cover.strength, index: cover.index, time: cover.time } : null, jobs: [],
  };
}

/** What it does now. While it trains, that is told by the updates: the phase before may have been an evaluation. */
function doingOf({ view }: Standing, { pace, training }: Followed, step: number, steps: number): Doing {
  const [from, to] = [pace[0], pace.at(-1)];
  const secondsPerStep = from && to && to[0] > from[0] ? (to[1] - from[1]) / 1000 / (to[0] - from[0]) : null;
  const beat = view?.progress ?? null;
  return {
    // Until a resumed run has begun, its log's last words are those of the process before.
    phase: view?.ended ? 'loading' : training ? 'training' : view?.phase?.text ?? 'starting',
    ...(training ? { done: step, total: steps } : { done: beat?.done ?? null, total: beat?.total ?? null }),
    detail: beat?.detail ?? '',
    secondsPerStep, secondsLeft: secondsPerStep === null ? null : secondsPerStep * Math.max(0, steps - step),
    bytes: beat?.bytes ?? null,
  };
}

const unreadable = (id: string, reason: string): RunSummary => ({ ...unknown(id), state: 'unreadable', reason: withoutSecrets(reason) });

/** A run of which nothing is known yet but its name. */
export const unknown = (id: string): RunSummary => ({
  id, state: 'starting', reason: null, stopping: false, method: '', model: '', rewards: [], seed: null, step: 0, steps: 0, checkpoint: null, again: null,
  base: null, best: null, last: null, guard: null, guarded: false, began: null, time: 0, doing: null, curve: [], report: false, warnings: [], cover: null, jobs: [],
});

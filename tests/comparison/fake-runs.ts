/** @file Run folders as `attune train` leaves them, written by hand. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { jobsOf, parseComparison } from '../../src/comparison/config.js';
import type { Comparison, Job } from '../../src/comparison/config.js';
import { encodePng } from '../../src/formats/image.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { eventText } from '../../src/runs/events.js';
import type { NewEvent, RunEvent } from '../../src/runs/events.js';
import { rowEvents } from '../../src/runs/old-log.js';
import type { MetricsRow } from '../../src/runs/rows.js';

export const comparison = (changes: object = {}): Comparison => parseComparison({
  title: 'Trial',
  settings: { prompts: 'animals', evaluation: { prompts: 2, images: 2 } },
  entries: { fast: { method: 'draft-lv', lr: 0.01 }, slow: { method: { name: 'draft', k: 1 } } },
  seeds: [0, 1],
  budget: { updates: 20 },
  bestOf: [4],
  ...changes,
});

/** The job of an entry and a seed. */
export function jobOf(of: Comparison, entry: string, seed: number): Job {
  return jobsOf(of).find((j) => j.entry === entry && j.seed === seed)!;
}

/** A picture [3, 8, 8] of one grey level. */
const grey = (level: number): HostTensor => host(new Float32Array(3 * 64).fill(level), [3, 8, 8]);

export interface FakeRun {
  /** Rewards of the evaluations; the kth comes after 10·k updates of `queriesAnUpdate` reward queries, a second each. */
  readonly rewards: readonly number[];
  readonly queriesAnUpdate?: number;
  /** Null: there is no feature space. */
  readonly diversity?: ((k: number) => number) | null;
  /** Index of the evaluation that the run chose; its highest reward by default. */
  readonly best?: number;
  /** Whether it is of before there was a log. */
  readonly old?: boolean;
  /** Grey levels of the last evaluation's four pictures. */
  readonly levels?: readonly number[];
  readonly finished?: boolean;
  readonly summary?: object;
}

export async function writeRun(root: string, job: Job, run: FakeRun): Promise<void> {
  const folder = join(root, job.folder);
  const { rewards, queriesAnUpdate = 8, diversity = () => 0.5, levels = [0.1, 0.3, 0.5, 0.7], finished = true, old = false } = run;
  const best = run.best ?? rewards.indexOf(Math.max(...rewards));
  await mkdir(join(folder, 'samples'), { recursive: true });
  await writeFile(join(folder, 'config.yaml'), stringify(job.config));
  const rows = rewards.flatMap((reward, k) => [
    ...(k === 0 ? [] : [{ step: 10 * k - 1, reward, loss: 0, gradNorm: 1, seconds: 10 * k - 1 }]),
    {
      step: 10 * k, evalReward: reward, heldOutReward: reward / 2, heldOutError: 0.01, ...(diversity && { diversity: diversity(k), frechet: k / 10, kid: k / 100, drift: k / 20 }),
      ...(k > 0 && { winRate: 0.5 + k / 10, winRateLow: 0.4 + k / 10, winRateHigh: 0.6 + k / 10 }),
      rewardQueries: 10 * k * queriesAnUpdate, denoiserCalls: 1000 * k, seconds: 10 * k,
    },
  ]);
  // The last line was cut short by a crash.
  await writeFile(join(folder, 'metrics.jsonl'), `${rows.map((r) => JSON.stringify(r)).join('\n')}\n{"step": 9`);
  const step = 10 * (rewards.length - 1);
  const samples = `samples/step-${String(step).padStart(6, '0')}`;
  const pictures = levels.map((level, index): [NewEvent, number] =>
    [{ type: 'image', step, strength: 1, index, prompt: index < 2 ? 'a' : 'b', file: `${samples}/00${index}.png` }, level]);
  if (!old) {
    await mkdir(join(folder, samples), { recursive: true });
    for (const [{ file }, level] of pictures as [{ file: string }, number][]) await writeFile(join(folder, file), await encodePng(grey(level)));
    const opened: NewEvent = { type: 'opened', version: 1, session: 'x', resumed: false, attune: '0', host: 'x', pid: 1 };
    const events = [opened, ...(rows as MetricsRow[]).flatMap(rowEvents), ...pictures.map(([e]) => e)].map((e) => ({ ...e, time: 1 }) as RunEvent);
    await writeFile(join(folder, 'events.jsonl'), `${events.map(eventText).join('')}{"type":"st`);
  }
  if (!finished) return;
  const sweep = [0, 0.5, 1].map((strength) =>
    ({ strength, step: 10 * best, reward: strength, heldOutReward: 0.1, heldOutError: 0.01, ...(diversity && { diversity: 0.5, frechet: strength / 10 }) }));
  const baseline = diversity ? { independentFrechet: 0.25 } : {};
  const summary = { peakBytes: 2 ** 30, best: 10 * best, ...(job.kind.name === 'train' ? { sweep } : baseline), ...run.summary };
  await writeFile(join(folder, 'summary.json'), JSON.stringify(summary));
}

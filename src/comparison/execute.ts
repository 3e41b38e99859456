/** @file Makes the runs of a comparison: what is done is kept, what was interrupted resumed, what fails reported. */
import { join } from 'node:path';
import { exists } from '../formats/exists.js';
import { spentShare } from '../training/budget.js';
import { ConfigError } from '../formats/errors.js';
import { storedConfig } from '../training/stored-config.js';
import type { Progress } from '../runs/progress.js';
import { changedSetting } from './config.js';
import type { Job } from './config.js';
import { secondsLeft } from './estimate.js';
import type { Failure } from './results.js';
import { spentSoFar } from './run-record.js';

export type JobState = 'new' | 'interrupted' | 'done';

/** @throws ConfigError if the folder holds a run of another configuration, naming the setting */
export async function jobState(job: Job, root: string): Promise<JobState> {
  const folder = join(root, job.folder);
  if (!(await exists(join(folder, 'config.yaml')))) return 'new';
  const changed = changedSetting(job, await storedConfig(folder));
  if (changed !== null) {
    throw new ConfigError(`${folder} holds a run of another configuration: ${changed}. `
      + 'Choose another --out, or delete this folder to run it again');
  }
  return (await exists(join(folder, 'summary.json'))) ? 'done' : 'interrupted';
}

/** A run under way. */
export interface Running {
  /** Null if it went well, else why it did not. */
  readonly finished: Promise<string | null>;
  /** Asks it to write a checkpoint and leave. */
  stop(): void;
}

export interface Execution {
  root: string;
  /** Runs at a time. */
  lanes: number;
  start(job: Job, resume: boolean): Running;
  progress: Progress;
  /** Aborted when the user wants to stop: no run is begun any more, those under way are stopped. */
  signal: AbortSignal;
  /** Milliseconds between reports while nothing ends. */
  interval?: number;
}

interface Tracked {
  readonly job: Job;
  began: number;
  seconds: number;
  share: number;
}

const minutes = (seconds: number): string =>
  (seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);
const nameOf = ({ entry, seed }: Job): string => `${entry}, seed ${seed}`;

/** Makes all runs that are not there yet. A failing one does not stop the others. */
export async function execute(jobs: readonly Job[], options: Execution): Promise<Failure[]> {
  const { root, lanes, progress, signal, interval = 30_000 } = options;
  const states = await Promise.all(jobs.map((job) => jobState(job, root)));
  const all = jobs.map((job, i): Tracked => ({ job, began: 0, seconds: 0, share: states[i] === 'done' ? 1 : 0 }));
  const queue = all.filter((t) => t.share < 1);
  const active = new Map<Tracked, Running>();
  const failures: Failure[] = [];

  const left = (): string => {
    const seconds = secondsLeft(all.map((t) => ({ ...t, entry: t.job.entry })), lanes);
    return seconds === null || seconds < 1 ? '' : `; about ${minutes(seconds)} left`;
  };
  const count = (): string => `[${all.filter((t) => t.share === 1).length}/${all.length}]`;

  async function look(): Promise<void> {
    for (const tracked of active.keys()) {
      const { config, folder, kind } = tracked.job;
      const spent = await spentSoFar(join(root, folder));
      if (kind.name === 'train') tracked.share = Math.min(0.99, spentShare(config, spent));
      tracked.seconds = (performance.now() - tracked.began) / 1000;
    }
    const at = [...active.keys()].map((t) => `${nameOf(t.job)} at ${Math.round(100 * t.share)}%`);
    if (at.length > 0) progress.phase(`${count()} ${at.join('; ')}${left()}`);
  }

  async function lane(): Promise<void> {
    for (let next = queue.shift(); next && !signal.aborted; next = queue.shift()) {
      const { job } = next;
      const resume = states[jobs.indexOf(job)] === 'interrupted';
      progress.phase(`${count()} ${resume ? 'resuming' : 'starting'} ${nameOf(job)}${left()}`);
      next.began = performance.now();
      const running = options.start(job, resume);
      active.set(next, running);
      const problem = await running.finished;
      active.delete(next);
      next.seconds = (performance.now() - next.began) / 1000;
      if (signal.aborted) return;
      next.share = 1; // also a failed run is over, but how long it took tells nothing
      if (problem === null) continue;
      next.seconds = 0;
      failures.push({ entry: job.entry, seed: job.seed, reason: problem });
      progress.warn(`${nameOf(job)} failed: ${problem}`);
    }
  }

  const stop = (): void => active.forEach((running) => running.stop());
  signal.addEventListener('abort', stop, { once: true });
  const timer = setInterval(() => void look(), interval);
  try {
    await Promise.all(Array.from({ length: lanes }, lane));
  } finally {
    clearInterval(timer);
    signal.removeEventListener('abort', stop);
  }
  return failures;
}

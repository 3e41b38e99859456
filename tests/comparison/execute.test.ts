import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { jobsOf } from '../../src/comparison/config.js';
import type { Job } from '../../src/comparison/config.js';
import { execute, jobState } from '../../src/comparison/execute.js';
import type { Running } from '../../src/comparison/execute.js';
import { comparison, jobOf, writeRun } from './fake-runs.js';

const parent = await mkdtemp(join(tmpdir(), 'attune-execute-'));
afterAll(() => rm(parent, { recursive: true, force: true }));
let root = '';
beforeEach(async () => (root = await mkdtemp(join(parent, 'x-'))));

const of = comparison({ seeds: [0] });
const jobs = jobsOf(of);
const said: string[] = [];
const progress = { phase: (t: string) => said.push(t), step: () => {}, warn: (t: string) => said.push(t) };

/** Runs that end at once, unless `held`. */
function world(outcome: (job: Job) => string | null | 'held') {
  const started: string[] = [];
  const stopped: string[] = [];
  const stopping = new AbortController();
  let most = 0;
  const now = new Set<string>();
  const start = (job: Job, resume: boolean): Running => {
    started.push(`${job.entry}${resume ? ' again' : ''}`);
    now.add(job.entry);
    most = Math.max(most, now.size);
    const result = outcome(job);
    let stop = (): void => {};
    const ended = result === 'held' ? new Promise<null>((resolve) => {
      stop = () => resolve(null);
    }) : new Promise((resolve) => setTimeout(resolve, 1)).then(() => result);
    return {
      finished: ended.finally(() => now.delete(job.entry)),
      stop: () => {
        stopped.push(job.entry);
        stop();
      },
    };
  };
  return { started, stopped, stopping, start, most: () => most };
}

describe('making the runs', () => {
  test('keeps what is done, resumes what was interrupted, reports what fails and goes on', async () => {
    await writeRun(root, jobOf(of, 'base', 0), { rewards: [0.1] });
    await writeRun(root, jobOf(of, 'fast', 0), { rewards: [0.1, 0.2], finished: false });
    const { started, start, stopping } = world((job) => (job.entry === 'fast' ? 'no memory' : null));
    const failures = await execute(jobs, { root, lanes: 1, start, progress, signal: stopping.signal });
    expect(started).toEqual(['best-of-4', 'fast again', 'slow']);
    expect(failures).toEqual([{ entry: 'fast', seed: 0, reason: 'no memory' }]);
    expect(said.join('\n')).toMatch(/\[1\/4\] starting best-of-4, seed 0/);
  });

  test('several at a time, each once', async () => {
    const { started, start, most, stopping } = world(() => null);
    await execute(jobs, { root, lanes: 3, start, progress, signal: stopping.signal });
    expect(started.toSorted()).toEqual(['base', 'best-of-4', 'fast', 'slow']);
    expect(most()).toBe(3);
  });

  test('a wish to stop reaches the runs under way, and no other is begun', async () => {
    const { started, stopped, start, stopping } = world((job) => (job.entry === 'best-of-4' ? 'held' : null));
    const end = execute(jobs, { root, lanes: 1, start, progress, signal: stopping.signal });
    while (started.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    stopping.abort();
    expect(await end).toEqual([]);
    expect([started, stopped]).toEqual([['base', 'best-of-4'], ['best-of-4']]);
  });

  test('runs of another configuration are refused before anything starts', async () => {
    const job = jobOf(of, 'slow', 0);
    await writeRun(root, { ...job, config: { ...job.config, lr: 0.5 } }, { rewards: [0.1, 0.2] });
    await expect(jobState(job, root)).rejects.toThrow(/slow\/seed-0 holds a run of another.*: lr was 0\.5 and is now 0\.0005/);
    const { started, start, stopping } = world(() => null);
    await expect(execute(jobs, { root, lanes: 1, start, progress, signal: stopping.signal })).rejects.toThrow(/lr was/);
    expect(started).toEqual([]);
    expect(await readdir(root)).toEqual(['runs']);
  });
});

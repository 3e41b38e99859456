import { describe, expect, test } from 'vitest';
import { changedSetting, jobsOf, parseComparison } from '../../src/comparison/config.js';
import { ConfigError } from '../../src/formats/errors.js';
import { comparison, jobOf } from './fake-runs.js';

describe('the runs of a comparison', () => {
  test('are one of everything before the next seed, with settings, entry and budget put together', () => {
    const jobs = jobsOf(comparison({ settings: { batch: 4, lora: { rank: 3 } }, entries: {
      a: { method: 'draft-lv', lora: { alpha: 1 } }, b: { method: { name: 'draft', k: 1 }, batch: 2, steps: 7 },
    } }));
    expect(jobs.map((j) => j.folder)).toEqual([
      'runs/base/seed-0', 'runs/best-of-4/seed-0', 'runs/a/seed-0', 'runs/b/seed-0',
      'runs/best-of-4/seed-1', 'runs/a/seed-1', 'runs/b/seed-1',
    ]);
    expect(jobs[5]!.config).toMatchObject({
      seed: 1, steps: 20, batch: 4, method: { name: 'draft-lv' }, lora: { rank: 3, alpha: 1 },
      guard: { enabled: false }, evaluation: { times: 4, sweep: [0.5] },
    });
    expect(jobs[6]!.config).toMatchObject({ steps: 7, batch: 2, method: { name: 'draft', k: 1 }, lora: { rank: 3 } });
  });

  test('a budget of queries or seconds ends runs that have no number of updates', () => {
    const [, , job] = jobsOf(comparison({ budget: { rewardQueries: 100, seconds: 5 } }));
    expect(job!.config).toMatchObject({ steps: 1e6, budget: { rewardQueries: 100, seconds: 5 } });
  });

  test.each([
    [{ entries: { a: { method: 'draft-lv', prompts: 'names' } } }, /entries\.a\.prompts: must be the same for all/],
    [{ entries: { a: { method: 'draft-lw' } } }, /entries\.a: there is no method "draft-lw".*draft-lv/],
    [{ entries: { a: { method: { name: 'draft', kk: 1 } } } }, /entries\.a: method\.kk/],
    [{ entries: { a: { lr: 1 } } }, /entries\.a\.method: is missing/],
    [{ entries: { a: { method: 'draft', seed: 1 } } }, /entries\.a\.seed.*"seeds"/],
    [{ settings: { budget: {} } }, /settings\.budget.*"budget"/],
    [{ entries: { 'best-of-4': { method: 'draft' } } }, /name of a baseline/],
    [{ entries: { '../a': { method: 'draft' } } }, /use letters/],
    [{ settings: { lrr: 1 } }, /there is no setting "lrr"/],
  ])('%j is refused', (changes, message) => {
    expect(() => jobsOf(comparison(changes))).toThrow(message);
    expect(() => jobsOf(comparison(changes))).toThrow(ConfigError);
  });

  test.each([
    [{ entry: {} }, /no "entry"; it has title/],
    [{ entries: {} }, /at least one entry/],
    [{ entries: { a: { method: 'draft' } }, seeds: [1, 1] }, /seeds/],
  ])('%j is no comparison', (value, message) => {
    expect(() => parseComparison(value)).toThrow(message);
  });
});

describe('a run that exists', () => {
  const of = comparison();
  test('is of the same configuration whatever its threads', () => {
    const job = jobOf(of, 'slow', 1);
    expect(changedSetting(job, { ...job.config, threads: 2 })).toBeNull();
    expect(changedSetting(job, { ...job.config, lr: 0.5 })).toBe(`lr was 0.5 and is now ${job.config.lr}`);
    const evaluation = { ...job.config.evaluation, images: 9 };
    expect(changedSetting(job, { ...job.config, evaluation })).toBe('evaluation.images was 9 and is now 2');
  });
  test('and a baseline has only what is common', () => {
    const job = jobOf(of, 'best-of-4', 0);
    expect(changedSetting(job, { ...job.config, lr: 0.5 })).toBeNull();
    expect(changedSetting(job, { ...job.config, guidance: 7 })).toMatch(/^guidance was 7/);
  });
});

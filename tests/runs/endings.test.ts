/** @file How a run ended, told from what it left: killed, interrupted, finished, stopped by the guard, failed. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { resolveConfig } from '../../src/training/config.js';
import { runTraining } from '../../src/training/run.js';
import { silent } from '../../src/runs/progress.js';
import { holderOf } from '../../src/runs/lock.js';
import { standingOf } from '../../src/runs/state.js';
import { attune, killAll } from '../cli-process.js';
import { fixtures, scratch, tiny } from '../cli/helpers.js';

const root = scratch();
const prompts = join(root, 'prompts.txt');
writeFileSync(prompts, 'a cat\na dog\n');
const settings = {
  model: tiny, prompts, rewards: ['symmetry'], method: { name: 'draft' }, steps: 4, batch: 1, samplingSteps: 1, size: 32, threads: 1,
  guidance: 1, checkpointEvery: 2, lora: { rank: 1, targets: ['to_q'] },
  evaluation: { every: 2, prompts: 1, images: 2, heldOut: null, features: null, sweep: [1], final: { prompts: 0 } },
};
const config = resolveConfig(settings, []);
const at = (name: string): string => join(root, name);

/** What `attune runs` is made of. */
async function told(folder: string): Promise<{ state: string; reason: string | null; step: number | undefined; checkpoint: number | undefined }> {
  const { state, reason, view } = await standingOf(folder, true);
  return { state, reason, step: view?.rows.at(-1)?.step, checkpoint: view?.checkpoints.at(-1)?.step };
}

test('killed with kill -9: running until then, crashed after, at which step, with which checkpoint; and the resumed run is one', { timeout: 600_000 }, async () => {
  const folder = at('killed');
  const file = at('killed.json');
  writeFileSync(file, JSON.stringify({ ...settings, steps: 1e6, evaluation: { ...settings.evaluation, every: 3 } }));
  const running = attune(['train', '--config', file, '--out', folder]);
  await running.until('evaluating at step 3');
  const before = await told(folder);
  expect(before).toMatchObject({ state: 'running', reason: null });
  expect(before.checkpoint, 'the run may be further than what it had told').toBeGreaterThanOrEqual(2);
  killAll(running);
  await running.finished;
  const { view } = await standingOf(folder, false);
  const step = view!.rows.at(-1)!.step;
  const checkpoint = view!.checkpoints.at(-1)!.step;
  expect(step - checkpoint).toBeOneOf([0, 1, 2]);
  // Its pipes close before the system is rid of the process.
  await expect.poll(() => told(folder), { timeout: 10_000 }).toEqual({ state: 'crashed', reason: expect.stringContaining('without a word') as string, step, checkpoint });

  // It goes on, and is asked to stop: steps after the checkpoint were made again, and are there once.
  const stopping = new AbortController();
  const progress = { ...silent, step: (done: number, total: number) => void (total === 1e6 && done >= step + 2 && stopping.abort()) };
  const given = resolveConfig(JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>, []);
  expect(await runTraining(given, folder, { resume: true, signal: stopping.signal, progress })).toBeNull();
  const after = await standingOf(folder, false);
  expect(after).toMatchObject({ state: 'stopped', reason: null });
  const steps = after.view!.rows.map((row) => row.step);
  expect(steps).toEqual([...steps.keys()]);
  expect(steps.length).toBeGreaterThan(step);
  expect(after.view!.opened.map((o) => o.resumed)).toEqual([false, true]);
  const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { step: number }).step);
  expect(lines).toEqual(steps);
  // Each update with its identity, across the two processes: DRaFT makes one of each round.
  const events = readFileSync(join(folder, 'events.jsonl'), 'utf8').split('\n').filter((line) => line.includes('"step","time"'));
  const updates = events.map((line) => JSON.parse(line) as { round: number; update: number; row: { step: number } });
  expect(updates.map(({ round, update }) => [round, update])).toEqual(updates.map(({ row }) => [row.step - 1, 0]));
});

test('finished, stopped by the guard, failed with an error: each says so', { timeout: 600_000 }, async () => {
  expect(await runTraining(config, at('finished'))).toMatchObject({ ended: 'finished' });
  expect(await told(at('finished'))).toEqual({ state: 'finished', reason: null, step: 4, checkpoint: 4 });
  const { view } = await standingOf(at('finished'), false);
  const log = readFileSync(join(at('finished'), 'events.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { type: string });
  expect(new Set(log.map((e) => e.type))).toEqual(new Set(['opened', 'phase', 'heartbeat', 'step', 'evaluation', 'image', 'checkpoint', 'ended', 'warning']));
  expect(log[0]!.type).toBe('opened');
  // Metrics are what the log says, line by line.
  const lines = readFileSync(join(at('finished'), 'metrics.jsonl'), 'utf8').trim().split('\n');
  expect(lines).toEqual(view!.rows.map((row) => JSON.stringify(row)));
  expect(Object.keys(JSON.parse(lines.at(-1)!) as object).slice(-3)).toEqual(['rewardQueries', 'denoiserCalls', 'seconds']);
  expect(lines.map((line) => (JSON.parse(line) as { step: number }).step)).toEqual([0, 1, 2, 3, 4]);

  const guarded = resolveConfig({
    ...settings, evaluation: { ...settings.evaluation, features: join(fixtures, 'preference_pickscore'), every: 1 }, guard: { maxFrechet: 1e-12, patience: 1 },
  }, []);
  expect(await runTraining(guarded, at('guarded'))).toMatchObject({ ended: { guard: expect.stringContaining('Fréchet') as string } });
  expect(await told(at('guarded'))).toMatchObject({ state: 'finished', reason: expect.stringMatching(/^stopped by the guard: .*Fréchet/) as string });

  const failing = { ...config, clip: null, lr: 1e30, steps: 50 };
  await expect(runTraining(failing, at('failed'))).rejects.toThrow();
  expect(await told(at('failed'))).toMatchObject({ state: 'crashed', reason: expect.stringMatching(/^error: .+/) as string });
});

test('from another machine it runs as long as its lock is touched, and is silent after', { timeout: 300_000 }, async () => {
  const folder = at('afar');
  await runTraining({ ...config, steps: 1 }, folder);
  const lines = readFileSync(join(folder, 'events.jsonl'), 'utf8').trim().split('\n');
  writeFileSync(join(folder, 'events.jsonl'), `${lines.slice(0, -1).join('\n')}\n`);
  const lock = join(folder, '.lock');
  writeFileSync(lock, JSON.stringify({ host: 'elsewhere', space: '', pid: 7, born: '', since: '', nonce: 'abc' }));
  expect(await holderOf(folder)).toMatchObject({ alive: null, name: 'process 7 on elsewhere' });
  expect(await told(folder)).toMatchObject({ state: 'running', reason: 'process 7 on elsewhere' });
  const then = new Date(Date.now() - 600_000);
  await utimes(lock, then, then);
  expect(await told(folder)).toMatchObject({ state: 'silent', reason: expect.stringContaining('10 minutes ago') as string });
  rmSync(lock);
  expect(await told(folder)).toMatchObject({ state: 'crashed' });
});

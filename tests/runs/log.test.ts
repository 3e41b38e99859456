/** @file The log itself: whole lines or none, read in bounded time and size, resumed, of later versions. */
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openEventLog } from '../../src/runs/event-log.js';
import { eventText } from '../../src/runs/events.js';
import type { RunEvent } from '../../src/runs/events.js';
import { readEvents } from '../../src/runs/read-log.js';
import { readView } from '../../src/runs/view.js';
import { limitDisk } from '../small-disk.mjs';
import { scratch } from '../cli/helpers.js';

const root = scratch();
function place(name: string): string {
  const path = join(root, name);
  mkdirSync(path);
  return path;
}
const opened = (resumed = false): RunEvent => ({ type: 'opened', time: 1, version: 1, session: 's', resumed, attune: '1', host: 'h', pid: 1 });
const step = (n: number, loss = 0.5): RunEvent => ({
  type: 'step', time: n,
  row: { step: n, reward: 0.123456789 + n / 1e6, loss, gradNorm: 1.234567, lr: 5e-4, rewardQueries: 8 * n, denoiserCalls: 64 * n, seconds: n * 1.1 },
});
const evaluation = (n: number): RunEvent => ({ type: 'evaluation', time: n, row: { step: n, evalReward: n, rewardQueries: 8 * n, denoiserCalls: 64 * n, seconds: n * 1.1 }, best: n });

test('a hundred thousand steps: all of them in seconds, and skimmed in a fraction with the same evaluations and last step', async () => {
  const path = place('long');
  const events = [opened()];
  for (let n = 1; n <= 1e5; n++) {
    events.push(step(n), { type: 'heartbeat', time: n, done: n, total: 1e5, detail: 'reward 0.5', bytes: 1 });
    if (n % 1000 === 0) events.push(evaluation(n));
  }
  writeFileSync(join(path, 'events.jsonl'), events.map(eventText).join(''));
  const timed = async (skim: boolean) => {
    const began = performance.now();
    const view = (await readView(path, { skim }))!;
    return { view, seconds: (performance.now() - began) / 1000 };
  };
  const full = await timed(false);
  const skimmed = await timed(true);
  expect(full.view.rows).toHaveLength(1e5);
  expect(skimmed.view.rows.length).toBeLessThanOrEqual(200);
  expect(skimmed.view.evaluations).toEqual(full.view.evaluations);
  expect(skimmed.view.evaluations).toHaveLength(100);
  expect(skimmed.view.rows.at(-1)).toEqual(full.view.rows.at(-1));
  expect(skimmed.view.progress).toEqual(full.view.progress);
  expect(full.seconds).toBeLessThan(30); // 1 s on a machine of one's own
  expect(skimmed.seconds).toBeLessThan(full.seconds);
}, 90_000);

test('goes on where a reader left off, which takes no line before its end', async () => {
  const path = place('tail');
  const log = await openEventLog(path);
  await log.append(opened());
  await log.append(step(1));
  const file = join(path, 'events.jsonl');
  await appendFile(file, eventText(step(2)).slice(0, -1));
  const heard: RunEvent[] = [];
  let from = 0;
  const listen = async (): Promise<void> => {
    for await (const { event, end } of readEvents(path, { from })) {
      heard.push(event);
      from = end;
    }
  };
  await listen();
  expect(heard.map((e) => e.type)).toEqual(['opened', 'step']);
  await appendFile(file, '\n');
  await log.append(step(3));
  log.close();
  await listen();
  expect(heard).toEqual([opened(), step(1), step(2), step(3)]);
});

test('on a full disk an event is written whole or not at all', async () => {
  const path = place('full');
  const log = await openEventLog(path);
  await log.append(opened());
  const file = join(path, 'events.jsonl');
  const before = readFileSync(file, 'utf8');
  limitDisk(path, before.length + 20);
  log.close();
  const small = await openEventLog(path);
  await expect(small.append(step(1))).rejects.toThrow(/events\.jsonl: the disk is full/);
  expect(readFileSync(file, 'utf8')).toBe(before);
  limitDisk(path, Infinity);
  small.close();
});

test('steps that a resumption repeats are there once, whatever came of them before', async () => {
  const path = place('resumed');
  const log = await openEventLog(path);
  const checkpoint = (n: number): RunEvent => ({ type: 'checkpoint', time: n, step: n, path: `checkpoints/step-00000${n}` });
  const first = [opened(), step(1), step(2), checkpoint(2), step(3), evaluation(3), checkpoint(3), step(4)];
  const again = [opened(true), { type: 'resumed', time: 9, step: 2 } as const, step(3, 0.25), step(4, 0.25), { type: 'ended', time: 9, how: 'finished' } as const];
  for (const event of [...first, ...again]) await log.append(event);
  const view = (await readView(path))!;
  expect(view.rows.map((r) => [r.step, r.loss])).toEqual([[1, 0.5], [2, 0.5], [3, 0.25], [4, 0.25]]);
  expect([view.evaluations, view.checkpoints.map((c) => c.step)]).toEqual([[], [2]]);
  expect(view.ended?.how).toBe('finished');
  // A run that begins again from nothing has nothing of before.
  for (const event of [opened(true), { type: 'resumed', time: 10, step: -1 } as const, step(1, 0.1)]) await log.append(event);
  log.close();
  expect(await readView(path)).toMatchObject({ rows: [{ step: 1, loss: 0.1 }], checkpoints: [], ended: null });
});

test('a log of a later version and one without measure are refused in a sentence; numbers that are none are left out', async () => {
  const later = place('later');
  writeFileSync(join(later, 'events.jsonl'), eventText({ ...opened(), version: 2, attune: '9.0' } as RunEvent));
  await expect(readView(later)).rejects.toThrow(/events\.jsonl: is a log of version 2, written by Attune 9\.0\. .*update Attune/);
  const huge = place('huge');
  writeFileSync(join(huge, 'events.jsonl'), '');
  truncateSync(join(huge, 'events.jsonl'), 2 ** 40);
  await expect(readView(huge)).rejects.toThrow(/are the most that are read/);
  const odd = place('odd');
  writeFileSync(join(odd, 'events.jsonl'), eventText(opened()) + eventText(step(1, NaN)) + `{"type":"image","time":1,"step":1,"strength":1,"index":0,"prompt":"x","file":"samples/../../x.png"}\n`);
  const told: string[] = [];
  const view = await readView(odd, { onBad: (error) => told.push(error.message) });
  expect(view!.rows[0]).toHaveProperty('step', 1);
  expect(view!.rows[0]).not.toHaveProperty('loss');
  expect(told).toEqual([expect.stringMatching(/line 3 is no event of a run: file/)]);
  expect(await readView(place('none'))).toBeNull();
});

/** @file The queue: its order, one run at a time, what is held, what failed, and that its file is all there is to know. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { lockFolder } from '../../src/runs/lock.js';
import type { Launcher } from '../../src/studio/launcher.js';
import { openQueue } from '../../src/studio/queue.js';
import type { Queue } from '../../src/studio/queue.js';
import { openRunIndex } from '../../src/studio/run-index.js';
import type { Wish } from '../../src/studio/wish.js';
import { scratch } from '../cli/helpers.js';
import { append, opened, SETTINGS, writeRun } from './written-run.js';

const root = scratch();
let [count, runs] = [0, ''];
const open: Queue[] = [];

/** A launcher that starts nothing; `processes` are what it would have started. */
function fake(): { launcher: Launcher; processes: Map<string, { pid: number; exit: number | null }>; begun: string[] } {
  const processes = new Map<string, { pid: number; exit: number | null }>();
  const begun: string[] = [];
  const launcher = {
    start: async ({ name }: Wish) => {
      processes.set(name!, { pid: process.pid, exit: null });
      begun.push(name!);
      return name!;
    },
    launched: (id: string) => processes.get(id) ?? null,
    dismiss: (id: string) => void processes.delete(id),
    output: async () => 'attune: no such model\n',
    withStarting: async (all: unknown) => all,
  } as unknown as Launcher;
  return { launcher, processes, begun };
}

function queueOf(launcher: Launcher): Queue {
  const queue = openQueue(openRunIndex(runs), launcher);
  open.push(queue);
  return queue;
}

beforeEach(() => {
  runs = join(root, String((count += 1)));
});
afterEach(async () => {
  for (const queue of open.splice(0)) await queue.close();
});

const names = async (queue: Queue): Promise<string[]> => (await queue.list()).map(({ name, state }) => `${name} ${state}`);
const add = (queue: Queue, name: string, settings: object = {}): Promise<void> => queue.change({ do: 'add', name, settings });
const idOf = async (queue: Queue, name: string): Promise<string> => (await queue.list()).find((item) => item.name === name)!.id;

test('runs start in their order, one at a time; what is held stays, what fails is told and can be tried again', async () => {
  const { launcher, processes, begun } = fake();
  const queue = queueOf(launcher);
  for (const name of ['a', 'b', 'c']) await add(queue, name, { steps: 3 });
  await queue.change({ do: 'move', id: await idOf(queue, 'c'), by: -1 });
  await queue.change({ do: 'hold', id: await idOf(queue, 'c'), held: true });
  await queue.change({ do: 'hold', id: await idOf(queue, 'c'), held: false });
  await queue.change({ do: 'hold', id: await idOf(queue, 'b'), held: true });
  expect(await names(queue)).toEqual(['a waiting', 'c waiting', 'b held']);
  await queue.look();
  await queue.look();
  expect(begun).toEqual(['a']);
  await expect(queue.change({ do: 'remove', id: await idOf(queue, 'a') })).rejects.toThrow('it is starting');
  // It became a run, and is over.
  await writeRun(join(runs, 'a'));
  processes.delete('a');
  await vi.waitFor(async () => {
    await queue.look();
    expect(begun).toEqual(['a', 'c']);
  }, { timeout: 10_000, interval: 300 });
  processes.get('c')!.exit = 2;
  await queue.look();
  expect((await queue.list())[0]).toMatchObject({ name: 'c', state: 'failed', reason: 'attune: no such model' });
  expect(begun).toEqual(['a', 'c']);
  await queue.change({ do: 'retry', id: await idOf(queue, 'c') });
  await queue.look();
  expect(begun).toEqual(['a', 'c', 'c']);
  expect(await names(queue)).toEqual(['c started', 'b held']);
});

test('the file is all there is to know: another studio goes on with it, but not two at once', async () => {
  const first = queueOf(fake().launcher);
  for (const name of ['a', 'b']) await add(first, name);
  await first.look();
  const { launcher, begun } = fake();
  const second = queueOf(launcher);
  await second.look();
  expect(await names(second)).toEqual(['a started', 'b waiting']);
  await first.close();
  // It lives on without the studio that started it.
  await second.look();
  expect(begun).toEqual([]);
  const file = join(runs, 'queue.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace(`"pid": ${process.pid}`, '"pid": 4194303'));
  await second.look();
  expect(begun).toEqual(['b']);
  expect(await names(second)).toEqual(['a failed', 'b started']);
  writeFileSync(file, '{"items": 3}');
  await expect(second.list()).rejects.toThrow('is no queue of runs');
});

test('it waits for runs that somebody else has started', async () => {
  const busy = join(runs, 'busy');
  mkdirSync(busy, { recursive: true });
  writeFileSync(join(busy, 'config.yaml'), SETTINGS);
  const lock = await lockFolder(busy, () => {});
  append(busy, opened(lock.id));
  const { launcher, begun } = fake();
  const queue = queueOf(launcher);
  await add(queue, 'a');
  await queue.look();
  expect(begun).toEqual([]);
  append(busy, { type: 'ended', how: 'finished' });
  await lock.release();
  await vi.waitFor(async () => {
    await queue.look();
    expect(begun).toEqual(['a']);
  }, { timeout: 10_000, interval: 300 });
});

test('what is no wish is not queued', async () => {
  const queue = queueOf(fake().launcher);
  for (const body of [{}, { do: 'add', argv: [] }, { do: 'add', name: '../x' }, { do: 'add', settings: { out: '/etc' } }, { do: 'move', id: 'x', by: 5 }, { do: 'remove', id: 'x' }]) {
    await expect(queue.change(body), JSON.stringify(body)).rejects.toThrow();
  }
  expect(await queue.list()).toEqual([]);
});

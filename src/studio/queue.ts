/**
 * @file Runs that wait for their turn: a file in the folder of runs, looked at once a second by whichever studio holds the
 * queue's lock. One run at a time: while any run of the folder is running, whoever started it, none is started.
 */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeAtomic } from '../formats/atomic.js';
import { FormatError } from '../formats/errors.js';
import { packageVersion } from '../formats/package-root.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { MOST_BYTES, readTextIfThere } from '../formats/whole-file.js';
import { isProcess, lockFolder } from '../runs/lock.js';
import type { Lock } from '../runs/lock.js';
import type { Launcher } from './launcher.js';
import type { QueueItem } from './messages.js';
import { Refusal, taken } from './reply.js';
import type { RunIndex } from './run-index.js';
import { readWish } from './wish.js';

const itemSchema = z.object({
  id: z.string().max(40),
  settings: z.record(z.string(), z.json()),
  name: z.string().nullable(),
  added: z.number(),
  /** Version that the settings were checked by. */
  attune: z.string(),
  state: z.enum(['waiting', 'held', 'started', 'failed']),
  /** Of one that was started: its run, and the process that becomes it. */
  run: z.string().nullable(), pid: z.int().nullable(),
  reason: z.string().nullable(),
});
const fileSchema = z.object({ items: z.array(itemSchema).max(1000) });
type Item = z.infer<typeof itemSchema>;

const id = z.string().max(40);
const wishSchema = z.discriminatedUnion('do', [
  z.strictObject({ do: z.literal('add'), settings: z.record(z.string(), z.json()).default({}), name: z.string().nullable().default(null) }),
  z.strictObject({ do: z.literal('move'), id, by: z.literal([-1, 1]) }),
  z.strictObject({ do: z.literal('hold'), id, held: z.boolean() }),
  z.strictObject({ do: z.literal('retry'), id }),
  z.strictObject({ do: z.literal('remove'), id }),
]);

export interface Queue {
  list(): Promise<QueueItem[]>;
  /** Adds, moves, holds, retries or removes. @throws Refusal or ConfigError for what is none, or cannot be */
  change(body: unknown): Promise<void>;
  /** Starts what may start. */
  look(): Promise<void>;
  close(): Promise<void>;
}

/** Milliseconds between looks. */
const LOOK = 1000;
const MOST_ITEMS = 200;

export function openQueue(index: RunIndex, launcher: Launcher): Queue {
  const path = join(index.root, 'queue.json');
  let lock: Lock | null = null;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const now = last.then(work, work);
    last = now.catch(() => {});
    return now;
  };

  async function read(): Promise<Item[]> {
    const text = await readTextIfThere(path, MOST_BYTES.json);
    if (text === null) return [];
    try {
      return fileSchema.parse(JSON.parse(text)).items;
    } catch (cause) {
      throw new FormatError(path, 'is no queue of runs', 'Move it away; the studio begins another.', { cause });
    }
  }
  const write = (items: readonly Item[]): Promise<void> => writeAtomic(path, `${JSON.stringify({ items }, null, 1)}\n`);

  /** What was started is a run by now, is on its way, or has failed. */
  async function settled(item: Item): Promise<Item | null> {
    if (item.state !== 'started' || item.run === null) return item;
    if (await index.folderOf(item.run)) return null;
    const launched = launcher.launched(item.run);
    if (launched ? launched.exit === null : item.pid !== null && isProcess(item.pid)) return item;
    const reason = (await launcher.output(item.run)).trim().split('\n').slice(-6).join('\n');
    launcher.dismiss(item.run);
    return { ...item, state: 'failed', run: null, pid: null, reason: reason || 'it ended before it was a run' };
  }

  async function start(item: Item): Promise<Item> {
    try {
      const run = await launcher.start(readWish({ settings: item.settings, name: item.name }));
      return { ...item, state: 'started', run, pid: launcher.launched(run)?.pid ?? null, reason: null };
    } catch (error) {
      return { ...item, state: 'failed', reason: withoutSecrets((error as Error).message) };
    }
  }

  /** Whether this studio is the one that starts what waits. */
  async function ours(): Promise<boolean> {
    if (lock) return lock.check().then(() => true, () => false);
    const folder = join(index.root, '.studio');
    await mkdir(folder, { recursive: true });
    lock = await lockFolder(folder, () => {}).catch(() => null);
    return lock !== null;
  }

  async function advance(): Promise<void> {
    const before = await read();
    if (!before.some(({ state }) => state === 'waiting' || state === 'started') || !(await ours())) return;
    let items = (await Promise.all(before.map(settled))).filter((item) => item !== null);
    const busy = items.some(({ state }) => state === 'started')
      || (await launcher.withStarting(await index.summaries())).some(({ state }) => state === 'running' || state === 'starting');
    const next = busy ? undefined : items.find(({ state }) => state === 'waiting');
    if (next) {
      const started = await start(next);
      items = items.map((item) => (item === next ? started : item));
    }
    if (JSON.stringify(items) !== JSON.stringify(before)) await write(items);
  }

  const timer = setInterval(() => void inTurn(advance).catch(() => {}), LOOK);
  timer.unref();

  return {
    async list() {
      const items = await read();
      return items.map(({ id: name, settings, name: run, added, attune, state, reason }): QueueItem => {
        const { 'method.name': method = 'drtune', rewards, model } = settings;
        const about = [method, model, ...(Array.isArray(rewards) ? rewards : [])].filter((part) => typeof part === 'string').map(withoutSecrets).join(' · ');
        return { id: name, name: run, about, added, other: attune === packageVersion ? null : attune, state, reason };
      });
    },
    change: (body) => inTurn(async () => {
      const wish = taken(wishSchema, body);
      const items = await read();
      if (wish.do === 'add') {
        const { settings, name } = wish;
        readWish({ settings, name });
        if (items.length >= MOST_ITEMS) throw new Refusal(409, `${MOST_ITEMS} runs wait already`);
        await write([...items, { id: randomBytes(6).toString('hex'), settings, name, added: Date.now(), attune: packageVersion, state: 'waiting', run: null, pid: null, reason: null }]);
        return;
      }
      const at = items.findIndex((item) => item.id === wish.id);
      const item = items[at];
      if (!item) throw new Refusal(404, 'it is not in the queue any more');
      if (item.state === 'started') throw new Refusal(409, 'it is starting; stop it in the list of runs');
      if (wish.do === 'remove') await write(items.toSpliced(at, 1));
      else if (wish.do === 'move') await write(items.toSpliced(at, 1).toSpliced(Math.max(0, at + wish.by), 0, item));
      else if (wish.do === 'hold') await write(items.with(at, { ...item, state: wish.held ? 'held' : 'waiting' }));
      else await write(items.with(at, { ...item, state: 'waiting', reason: null }));
    }),
    look: () => inTurn(advance),
    async close() {
      clearInterval(timer);
      await inTurn(async () => {
        await lock?.release();
        lock = null;
      });
    },
  };
}

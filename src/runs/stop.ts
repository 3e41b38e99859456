/**
 * @file Asking a run to stop from outside its process: a file in its folder, which works whoever started it, from another
 * container and over a network drive too. A signal would not reach the process that computes (cli/supervise.ts).
 */
import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { writeAtomic } from '../formats/atomic.js';
import { ConfigError } from '../formats/errors.js';
import { MOST_BYTES, readText } from '../formats/whole-file.js';
import { holderOf } from './lock.js';

const pathOf = (folder: string): string => join(folder, '.stop');

/** `session` is the lock that the wish is for: a run that goes on later is not meant. */
const wishSchema = z.object({ session: z.string(), now: z.boolean() });

/** Milliseconds between looks of a run for its own wish. */
const INTERVAL = 400;

/**
 * Asks the process that holds a run to save a checkpoint and leave, or (`now`) ends it, which can be done on its own
 * machine only.
 *
 * @throws ConfigError if nobody holds the run, or it is to be ended at once and that is not possible from here
 */
export async function askToStop(folder: string, now: boolean): Promise<void> {
  const holder = await holderOf(folder);
  if (!holder || holder.alive === false) throw new ConfigError(`${folder} is not running, so there is nothing to stop`);
  if (now && holder.alive === null) throw new ConfigError(`${folder} is held by ${holder.name}: it can be asked to stop from here, but not be ended at once`);
  await writeAtomic(pathOf(folder), `${JSON.stringify({ session: holder.id, now })}\n`);
  if (!now) return;
  process.kill(holder.pid, 'SIGKILL');
  // Whoever asks next is to see it gone.
  for (let i = 0; i < 50 && (await holderOf(folder))?.alive === true; i++) await delay(20);
}

type Wish = 'stop' | 'now' | null;

/** What the process of a session is asked for by the text of the file; null for what is for others, or cannot be read. */
function wishIn(text: string, session: string | undefined): Wish {
  try {
    const wish = wishSchema.parse(JSON.parse(text));
    if (wish.session !== session) return null;
    return wish.now ? 'now' : 'stop';
  } catch {
    return null;
  }
}

/** What the process of that session was asked for, if anything. */
export const stopWish = async (folder: string, session: string | undefined): Promise<Wish> =>
  wishIn(await readText(pathOf(folder), MOST_BYTES.note).catch(() => ''), session);

/** The same at once: between two network calls the event loop turns once, and reading a file without blocking takes several turns. */
function wishNow(folder: string, session: string): Wish {
  const path = pathOf(folder);
  try {
    const found = statSync(path);
    return found.isFile() && found.size <= MOST_BYTES.note ? wishIn(readFileSync(path, 'utf8'), session) : null;
  } catch {
    return null; // none, or a drive that cannot be reached now
  }
}

/** Tells `heard` once, when the process that holds the lock `session` is asked to stop, until released. */
export function hearStop(folder: string, session: string, heard: () => void): { release(): Promise<void> } {
  rmSync(pathOf(folder), { force: true }); // of those who held the run before
  const look = (): void => {
    if (wishNow(folder, session) === null) return;
    clearInterval(timer);
    heard();
  };
  const timer = setInterval(look, INTERVAL);
  timer.unref();
  return {
    async release() {
      clearInterval(timer);
    },
  };
}

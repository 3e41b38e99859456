/** @file Whether a run runs, and if not how it ended: from its log, its lock, and the process that holds it. */
import { join } from 'node:path';
import { exists } from '../formats/exists.js';
import { SILENCE } from './heartbeat.js';
import { holderOf } from './lock.js';
import type { Holder } from './lock.js';
import { stopWish } from './stop.js';
import { readView } from './view.js';
import type { RunView } from './view.js';

/**
 * Running: its process lives. Silent: that is of another machine or container, and has given no sign of life for minutes.
 * Stopped: it was asked to. Crashed: its process is gone without a word, or with an error. Finished: all is done, or the
 * guard stopped it.
 */
export type RunState = 'running' | 'silent' | 'stopped' | 'crashed' | 'finished';

export interface Standing {
  readonly state: RunState;
  /** Why, in words, where that is known. */
  readonly reason: string | null;
  /** It runs, and has been asked to stop. */
  readonly stopping: boolean;
  /** As its log has it; null for a run of before there was one. */
  readonly view: RunView | null;
}

type Word = Pick<Standing, 'state' | 'reason'>;

/** How it ended by its own word. */
function byWord({ how, reason }: NonNullable<RunView['ended']>): Word {
  if (how === 'error') return { state: 'crashed', reason: `error: ${reason ?? 'unknown'}` };
  if (how === 'guard') return { state: 'finished', reason: `stopped by the guard: ${reason ?? 'unknown'}` };
  return { state: how === 'interrupted' ? 'stopped' : 'finished', reason: reason ?? null };
}

/**
 * How the run in a folder stands.
 *
 * @param skim as in `readEvents`; or what reads its log, for those who have read some of it already
 * @throws FormatError if its log cannot be read
 */
export async function standingOf(folder: string, skim: boolean | (() => Promise<RunView | null>)): Promise<Standing> {
  const now = Date.now();
  // The lock first: whoever has let go of it by then has written its last word, which is read after.
  let holder = await holderOf(folder);
  const view = await (typeof skim === 'function' ? skim() : readView(folder, { skim }));
  if (!holder?.alive) holder = await holderOf(folder) ?? holder; // taken in between
  const found = await judged(folder, view, holder, now);
  return { ...found, stopping: found.state === 'running' && await stopWish(folder, holder?.id) !== null, view };
}

async function judged(folder: string, view: RunView | null, holder: Holder | null, now: number): Promise<Word> {
  const session = view?.opened.at(-1)?.session;
  const word = view?.ended && (!holder || holder.id === session) ? byWord(view.ended) : null;
  if (word) return word;
  if (holder?.alive) return { state: 'running', reason: null };
  if (holder?.alive === null) {
    const minutes = Math.floor((now - holder.seen) / 60_000);
    return now - holder.seen < SILENCE ? { state: 'running', reason: holder.name }
      : { state: 'silent', reason: `${holder.name} gave its last sign of life ${minutes} minutes ago; from here it cannot be seen whether it runs` };
  }
  if (view) {
    if (await stopWish(folder, holder?.id ?? session) === 'now') return { state: 'stopped', reason: 'ended at once, as asked' };
    const gone = 'its process ended without a word (killed, out of memory, or power lost)';
    return { state: 'crashed', reason: holder && holder.id !== session ? `${gone} as it was about to go on` : gone };
  }
  const done = await exists(join(folder, 'summary.json'));
  if (done) return { state: 'finished', reason: null };
  const old = 'begun by a version of Attune that kept no log';
  return holder ? { state: 'crashed', reason: old } : { state: 'stopped', reason: `${old}, so why it ended is not known` };
}

/** @file A run's log followed as it grows: what was read is kept, each reading goes on where the last one left off. */
import { stat } from 'node:fs/promises';
import { pause } from '../host/pause.js';
import { logPath } from '../runs/event-log.js';
import { readEvents } from '../runs/read-log.js';
import { growingView } from '../runs/view.js';
import type { RunView } from '../runs/view.js';
import type { LogPart, Picture } from './messages.js';
import { columnsOf, thinned } from './thin.js';

/** A point of the training's pace. */
type Pace = readonly [step: number, time: number];

export interface Followed {
  /** Reads what has come. @returns the run, or null if it has no log */
  refresh(): Promise<RunView | null>;
  /** Up to where the log is known: which file it is, and the byte. */
  readonly cursor: string;
  /** Steps and when they were done, of the process that has the run now; not all of them. */
  readonly pace: readonly Pace[];
  /** Whether the last that was told is an update. */
  readonly training: boolean;
  /** What came after a cursor; null if nothing did. All anew without one, or if what was told until then is void. */
  since(cursor: string): Omit<LogPart, 'run'> | null;
}

/** Events read before others have their turn. */
const AT_ONCE = 500;
const MOST_PACE = 64;

/** @param skim as in `readEvents`: then `since` has evaluations and last steps alone */
export function follow(folder: string, skim: boolean): Followed {
  let { view, take } = growingView();
  let [end, file, voidBefore] = [0, 0, 0];
  /** Bytes at which rows (by index) and pictures (by file) were told. */
  let rowEnds: number[] = [];
  let pictureEnds = new Map<string, number>();
  let pace: Pace[] = [];
  let training = false;
  let reading: Promise<RunView | null> | null = null;

  function begin(): void {
    ({ view, take } = growingView());
    [end, voidBefore, rowEnds, pictureEnds, pace, training] = [0, 0, [], new Map(), [], false];
  }

  async function read(): Promise<RunView | null> {
    const found = await stat(logPath(folder)).catch(() => null);
    if (!found || found.size < end || (file !== 0 && found.ino !== file)) {
      begin(); // another log
    }
    if (!found) return null;
    file = found.ino;
    let count = 0;
    if (found.size > end) {
      for await (const { event, end: at } of readEvents(folder, { from: end, skim })) {
        take(event);
        end = at;
        if (event.type === 'opened' || event.type === 'resumed') {
          voidBefore = at;
          rowEnds.length = view.rows.length;
          pace = [];
        } else if (event.type === 'step' || event.type === 'evaluation') rowEnds[view.rows.length - 1] = at;
        else if (event.type === 'image') pictureEnds.set(event.file, at);
        if (event.type === 'step') {
          pace.push([event.row.step, event.time]);
          if (pace.length > MOST_PACE) pace.shift();
        }
        if (event.type !== 'heartbeat' && event.type !== 'checkpoint') training = event.type === 'step' && event.evaluationFollows !== true;
        if ((count += 1) % AT_ONCE === 0) await pause();
      }
    }
    return view.opened.length > 0 ? view : null;
  }

  return {
    refresh: () => (reading ??= read().finally(() => (reading = null))),
    get cursor() {
      return `${file}-${end}`;
    },
    get pace() {
      return pace;
    },
    get training() {
      return training;
    },
    since(cursor) {
      if (end === 0 || cursor === `${file}-${end}`) return null;
      const [of, byte] = cursor.split('-').map(Number);
      const from = of === file ? byte ?? 0 : 0;
      const anew = !(from > 0 && from >= voidBefore && from <= end);
      const rows = anew ? view.rows : view.rows.slice(firstAfter(rowEnds, from));
      const images = anew ? view.images : view.images.filter((image) => (pictureEnds.get(image.file) ?? Infinity) > from);
      const chosen = thinned(rows);
      return {
        anew, thinnedFrom: chosen === rows ? null : rows.length, rows: columnsOf(chosen),
        pictures: images.map(({ step, strength, index, prompt, seed, time }): Picture => ({ step, strength, index, prompt, seed: seed ?? null, time })),
      };
    },
  };
}

/** Index of the first value above `from`; values ascend. */
function firstAfter(values: readonly number[], from: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! > from) high = middle;
    else low = middle + 1;
  }
  return low;
}

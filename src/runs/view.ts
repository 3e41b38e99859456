/** @file What a run's events come to: the run as it stands, without what a later resumption made void. */
import type { EventOf, RunEvent } from './events.js';
import { readEvents } from './read-log.js';
import type { ReadOptions } from './read-log.js';
import { joinedRow } from './rows.js';
import type { MetricsRow } from './rows.js';

export interface RunView {
  /** Times at which a process took the run up; the first is when it was begun. */
  readonly opened: readonly EventOf<'opened'>[];
  /** Updates and evaluations by step, as `metrics.jsonl` has them. */
  readonly rows: readonly MetricsRow[];
  readonly evaluations: readonly EventOf<'evaluation'>[];
  /** The newest of each file. */
  readonly images: readonly EventOf<'image'>[];
  /** All that were saved; of these the last few are kept. */
  readonly checkpoints: readonly EventOf<'checkpoint'>[];
  readonly warnings: readonly EventOf<'warning'>[];
  /** What it does, or did when it ended. */
  readonly phase: EventOf<'phase'> | null;
  /** How far that has come. */
  readonly progress: EventOf<'heartbeat'> | null;
  /** How the process that took it up last let go of it; null while it has not. */
  readonly ended: EventOf<'ended'> | null;
  /** Of the last event. */
  readonly time: number;
}

type Building = { -readonly [K in keyof RunView]: RunView[K] extends readonly (infer T)[] ? T[] : RunView[K] };

const empty = (): Building => ({
  opened: [], rows: [], evaluations: [], images: [], checkpoints: [], warnings: [], phase: null, progress: null, ended: null, time: 0,
});

/** Warnings that are kept: the first ones, which the others often repeat. */
const MOST_WARNINGS = 1000;

/** A view that grows: whoever follows a log hands over its events, in their order, as they come. */
export function growingView(): { readonly view: RunView; take(event: RunEvent): void } {
  const view = empty();
  const files = new Map<string, number>();
  return { view, take: (event) => take(view, files, event) };
}

/** Takes in the next event. */
function take(view: Building, files: Map<string, number>, event: RunEvent): void {
  view.time = event.time;
  switch (event.type) {
    case 'opened':
      if (!event.resumed) {
        Object.assign(view, empty(), { time: event.time });
        files.clear();
      }
      view.opened.push(event);
      [view.ended, view.phase, view.progress] = [null, null, null];
      break;
    case 'resumed':
      view.rows = view.rows.filter((row) => row.step <= event.step);
      view.evaluations = view.evaluations.filter(({ row }) => row.step <= event.step);
      view.images = view.images.filter(({ step }) => step <= event.step);
      files.clear();
      for (const [i, { file }] of view.images.entries()) files.set(file, i);
      view.checkpoints = view.checkpoints.filter(({ step }) => step <= event.step);
      break;
    case 'step':
      view.rows.push(event.row);
      break;
    case 'evaluation': {
      const last = view.rows.at(-1);
      if (last?.step === event.row.step) view.rows[view.rows.length - 1] = joinedRow(last, event.row);
      else view.rows.push(event.row);
      view.evaluations.push(event);
      break;
    }
    case 'image': {
      const at = files.get(event.file) ?? view.images.length;
      files.set(event.file, at);
      view.images[at] = event;
      break;
    }
    case 'checkpoint':
      view.checkpoints.push(event);
      break;
    case 'warning':
      if (view.warnings.length < MOST_WARNINGS) view.warnings.push(event);
      break;
    case 'phase':
      [view.phase, view.progress] = [event, null];
      break;
    case 'heartbeat':
      view.progress = event;
      break;
    case 'ended':
      view.ended = event;
      break;
  }
}

/**
 * The run in a folder as its log tells it; null if it has none, as runs of before there was one.
 *
 * @param options with `skim`, the rows are but those of evaluations and the last
 * @throws FormatError as `readEvents`
 */
export async function readView(folder: string, options: Omit<ReadOptions, 'from'> = {}): Promise<RunView | null> {
  const { view, take: hear } = growingView();
  for await (const { event } of readEvents(folder, options)) hear(event);
  return view.opened.length > 0 ? view : null;
}

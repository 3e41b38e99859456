/** @file The one reader of a run's log: bounded in size, tolerant of bad lines, able to go on where it left off. */
import { fileSource, readBytes } from '../formats/byte-source.js';
import { FormatError } from '../formats/errors.js';
import { isMissing, MOST_BYTES } from '../formats/whole-file.js';
import { deferred } from '../host/resources.js';
import { logPath } from './event-log.js';
import { LOG_VERSION, parseEvent } from './events.js';
import type { RunEvent } from './events.js';

/** An event with the byte of the log at which the next line begins: whoever wants to hear more goes on from there. */
export interface Logged {
  readonly event: RunEvent;
  readonly end: number;
}

export interface ReadOptions {
  /** Byte to begin at, the `end` of an earlier reading. Default: 0. */
  readonly from?: number;
  /** Of steps and heartbeats between other events only the last one is wanted: the rest is passed over unread. */
  readonly skim?: boolean;
  /** Told of each line that is no event, which is then passed over. */
  readonly onBad?: (error: FormatError) => void;
}

/** No event is as long: a line that is, is not even parsed. */
const LONGEST_LINE = MOST_BYTES.note;
const PASSED_OVER = (['step', 'heartbeat'] as const).map((type) => Buffer.from(`{"type":"${type}"`));

/**
 * The events of the run in a folder, in their order; none if it has no log. A last line without its end is none yet.
 *
 * @throws FormatError if the log is no regular file, longer than any, or written by a version that this one cannot read
 */
export async function* readEvents(folder: string, { from = 0, skim = false, onBad = () => {} }: ReadOptions = {}): AsyncGenerator<Logged> {
  const path = logPath(folder);
  const bytes = await contentOf(path, from);
  if (!bytes) return;
  let number = 0;
  function read(start: number, end: number): Logged[] {
    const event = end - start > LONGEST_LINE ? `is longer than ${LONGEST_LINE} bytes` : parseEvent(bytes!.toString('utf8', start, end));
    if (typeof event === 'string') onBad(new FormatError(path, `line ${number}${from > 0 ? ` after byte ${from}` : ''} ${event}`, 'It is left out.'));
    if (event === null || typeof event === 'string') return [];
    if (event.type === 'opened' && event.version > LOG_VERSION) {
      throw new FormatError(path, `is a log of version ${event.version}, written by Attune ${event.attune}`, `This one reads up to version ${LOG_VERSION}: update Attune.`);
    }
    return [{ event, end: from + end + 1 }];
  }
  /** Lines passed over so far, by type: the last ones are read before the next event of another type. */
  const last = new Map<Buffer, [start: number, end: number]>();
  const held = (): Logged[] => {
    const lines = [...last.values()].toSorted(([a], [b]) => a - b);
    last.clear();
    return lines.flatMap(([start, end]) => read(start, end));
  };
  for (let start = 0, end = bytes.indexOf(10); end >= 0; start = end + 1, end = bytes.indexOf(10, start)) {
    number += 1;
    if (end === start) continue;
    const kind = skim ? PASSED_OVER.find((p) => bytes.compare(p, 0, p.length, start, start + p.length) === 0) : undefined;
    if (kind) last.set(kind, [start, end]);
    else {
      yield* held();
      yield* read(start, end);
    }
  }
  yield* held();
}

/** From a byte to the end; null if there is no such file. */
async function contentOf(path: string, from: number): Promise<Buffer | null> {
  const source = await fileSource(path).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (!source) return null;
  await using _ = deferred(() => source.close());
  const length = Math.max(0, source.size - from);
  if (length > MOST_BYTES.log) {
    throw new FormatError(path, `is ${source.size} bytes long, and ${MOST_BYTES.log} are the most that are read of such a file`, 'Check that it is the log of a run.');
  }
  return await readBytes(source, source.size - length, length);
}

/**
 * @file The stream of what happens, one for each page (browsers allow six connections to a host): the list of runs when
 * it changes, and what comes to the logs of those that the page looks at. An event's id says how far each log was told,
 * in bytes, so that a page that was cut off goes on where it was.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { HEADERS } from './reply.js';
import type { LogPart, QueueItem, RunSummary } from './messages.js';
import type { RunIndex } from './run-index.js';

/** Milliseconds between looks. */
const INTERVAL = 500;
/** Milliseconds after which something is sent though nothing happens: proxies and sleeping laptops. */
const QUIET = 15_000;
/** Runs that one page may look at together. */
const MOST_WATCHED = 12;

const CURSOR = /^\d{1,16}-\d{1,16}$/;

/** Cursors as `Last-Event-ID` or the page's address has them, one for each run. */
function cursorsOf(text: string, count: number): string[] {
  const given = text.split(',');
  return Array.from({ length: count }, (_, i) => (CURSOR.test(given[i] ?? '') ? given[i]! : '0-0'));
}

/**
 * Sends events until the page goes away or `signal` ends it.
 *
 * @param lists what events of a name tell, when it changes: `runs`, those of the index and those that are about to be; `queue`
 */
export async function stream(
  request: IncomingMessage, response: ServerResponse, url: URL, index: RunIndex, lists: { readonly runs: () => Promise<readonly RunSummary[]>; readonly queue: () => Promise<readonly QueueItem[]> }, signal: AbortSignal,
): Promise<void> {
  const watched = url.searchParams.getAll('run').slice(0, MOST_WATCHED);
  const known = request.headers['last-event-id'];
  const cursors = cursorsOf(typeof known === 'string' ? known : url.searchParams.get('from') ?? '', watched.length);
  response.writeHead(200, { ...HEADERS, 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  const open = (): boolean => !response.destroyed && !signal.aborted;
  const told = new Map<string, string>();
  let last = performance.now();

  /** Waits where the page does not keep up. */
  async function write(text: string): Promise<void> {
    last = performance.now();
    if (response.write(text) || !open()) return;
    await new Promise<void>((resolve) => {
      const on = (): void => {
        response.off('drain', on).off('close', on);
        resolve();
      };
      response.once('drain', on).once('close', on);
    });
  }

  while (open()) {
    for (const [name, list] of Object.entries(lists)) {
      const text = JSON.stringify(await list());
      if (text !== told.get(name)) await write(`event: ${name}\ndata: ${text}\n\n`);
      told.set(name, text);
    }
    for (const [i, run] of watched.entries()) {
      const log = await index.followed(run);
      if (!log || !open()) continue;
      await log.refresh().catch(() => null); // the list says that it cannot be read
      const part = log.since(cursors[i]!);
      if (!part) continue;
      cursors[i] = log.cursor;
      await write(`event: log\nid: ${cursors.join()}\ndata: ${JSON.stringify({ run, ...part } satisfies LogPart)}\n\n`);
    }
    if (performance.now() - last > QUIET) await write(':\n\n');
    await wait(INTERVAL, response, signal);
  }
  response.end();
}

/** Until the time is over, the page is gone or all ends. */
function wait(milliseconds: number, response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      response.off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    response.once('close', done);
    signal.addEventListener('abort', done);
    if (response.destroyed || signal.aborted) done();
  });
}

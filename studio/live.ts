/** @file The page's one stream from the server: the list of runs, and the logs of those that are looked at. */
import { signal } from '@preact/signals';
import type { LogPart, QueueItem, RunSummary } from '../src/studio/messages.js';
import { logOf, takePart } from './logs.js';

/** Null until they are known. */
export const runs = signal<readonly RunSummary[] | null>(null);
export const queue = signal<readonly QueueItem[]>([]);
/** Whether the server can be heard. */
export const connected = signal(true);

let source: EventSource | null = null;
let watched: readonly string[] = [];

/** From now on hears of these runs' logs; of those that are known already only what is new. */
export function watch(ids: readonly string[]): void {
  if (source && ids.join('\n') === watched.join('\n')) return;
  watched = ids;
  source?.close();
  const query = new URLSearchParams([...ids.map((id) => ['run', id]), ['from', ids.map((id) => logOf(id).cursor).join()]]);
  const opened = new EventSource(`/api/events?${query}`);
  source = opened;
  opened.addEventListener('open', () => (connected.value = true));
  opened.addEventListener('error', () => {
    connected.value = false;
    // A server that is another one by now refuses, and the browser does not try again by itself.
    if (opened.readyState === EventSource.CLOSED) setTimeout(() => source === opened && (source = null, watch(watched)), 2000);
  });
  opened.addEventListener('runs', (event: MessageEvent<string>) => (runs.value = JSON.parse(event.data) as RunSummary[]));
  opened.addEventListener('queue', (event: MessageEvent<string>) => (queue.value = JSON.parse(event.data) as QueueItem[]));
  opened.addEventListener('log', (event: MessageEvent<string>) => {
    const part = JSON.parse(event.data) as LogPart;
    takePart(part, event.lastEventId.split(',')[ids.indexOf(part.run)] ?? '0-0');
  });
}

/** @file How numbers, times and states are told. */
import { numberText } from '../src/evaluation/ticks.js';
import type { RunSummary } from '../src/studio/messages.js';

export const number = (x: number | null | undefined): string => (x === null || x === undefined ? '–' : numberText(x));

export function duration(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return '–';
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const m = Math.round(s / 60);
  return m < 60 ? `${m} min` : `${Math.floor(m / 60)} h ${m % 60} min`;
}

export const megabytes = (bytes: number): string => (bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`);

export function ago(time: number, now = Date.now()): string {
  const s = Math.max(0, (now - time) / 1000);
  if (s < 60) return 'just now';
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return new Date(time).toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
}

export const percent = (x: number): string => `${Math.round(100 * x)}%`;

/** What became of a run, in a few words. */
export function stateText({ state, stopping, step, steps, guarded }: RunSummary): string {
  if (stopping) return 'stopping';
  if (state === 'crashed') return `crashed at step ${step}`;
  if (state === 'stopped') return `stopped at step ${step}`;
  if (state === 'finished') return guarded ? `stopped by the guard at ${step}` : 'finished';
  if (state === 'running') return `running, step ${step} of ${steps}`;
  return state === 'starting' ? 'starting' : state === 'failed' ? 'could not start' : state;
}

/** Names without the folders that all of them begin or end with. */
export function shortNames(ids: readonly string[]): ReadonlyMap<string, string> {
  const parts = ids.map((id) => id.split('/'));
  const shortest = Math.min(...parts.map((p) => p.length)) - 1;
  const same = (at: (p: readonly string[]) => string | undefined): boolean => parts.every((p) => at(p) === at(parts[0]!));
  let [from, to] = [0, 0];
  while (from < shortest && same((p) => p[from])) from += 1;
  while (from + to < shortest && same((p) => p[p.length - 1 - to])) to += 1;
  return new Map(ids.map((id, i) => [id, parts[i]!.slice(from, parts[i]!.length - to).join('/')]));
}

export const canResume = ({ state, again }: RunSummary): boolean => again === null && (state === 'stopped' || state === 'crashed');
export const isLive = ({ state }: RunSummary): boolean => state === 'running' || state === 'starting';

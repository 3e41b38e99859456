/** @file What long work tells the outside: phases, steps, metrics. The trainer does not know who listens. */

export interface Progress {
  /** A phase begins; silence would otherwise look like a hang. */
  phase(text: string): void;
  /** Work done so far; `detail` is a short text such as "reward 0.31". */
  step(done: number, total: number, detail?: string): void;
  /** Something the user should know that is not an error. */
  warn(text: string): void;
}

export const silent: Progress = { phase: () => {}, step: () => {}, warn: () => {} };

/** Downloads as progress: what is fetched is told as a phase before its first byte. */
export const downloadsTo = (progress: Progress, signal?: AbortSignal): { begin(text: string): void; bytes(done: number, total: number): void; warn(text: string): void } => ({
  warn: (text) => progress.warn(text),
  begin: (text) => progress.phase(text),
  bytes(done, total) {
    signal?.throwIfAborted();
    progress.step(Math.round(done / 1e6), Math.round(total / 1e6), 'MB');
  },
});

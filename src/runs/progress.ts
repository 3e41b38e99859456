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

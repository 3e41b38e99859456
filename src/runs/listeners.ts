/** @file Who listens to a run: the terminal, `metrics.jsonl`, TensorBoard. And the run as what work is told to. */
import { appendWhole } from '../formats/atomic.js';
import type { EventWriter } from '../formats/tfevents.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { residentBytes } from '../machine/memory.js';
import type { Listener, NewEvent } from './events.js';
import type { Progress } from './progress.js';
import { joinedRow, rowText } from './rows.js';
import type { MetricsRow } from './rows.js';

/** Shows a run to people. */
export const shownBy = (progress: Progress): Listener => (event) => {
  if (event.type === 'phase') progress.phase(event.text);
  else if (event.type === 'heartbeat') progress.step(event.done, event.total, event.detail);
  else if (event.type === 'warning') progress.warn(event.text);
};

/**
 * Tells the run what work tells. What cannot be written, for lack of room say, is not the work's concern: the next
 * update's numbers find the same, and end the run.
 */
export function progressOf(emit: (event: NewEvent) => Promise<void>): Progress {
  const tell = (event: NewEvent): void => void emit(event).catch(() => {});
  return {
    phase: (text) => tell({ type: 'phase', text: withoutSecrets(text) }),
    step: (done, total, detail = '') => tell({ type: 'heartbeat', done, total, detail, bytes: residentBytes() }),
    warn: (text) => tell({ type: 'warning', text: withoutSecrets(text) }),
  };
}

/** Rows as whole lines: an update waits for the evaluation that follows it. */
function rowListener(write: (row: MetricsRow) => Promise<void>): Listener {
  let waiting: MetricsRow | null = null;
  return async (event) => {
    if (event.type === 'step') {
      waiting = event.evaluationFollows ? event.row : null;
      if (!waiting) await write(event.row);
    } else if (event.type === 'evaluation') {
      const row = joinedRow(waiting, event.row);
      waiting = null;
      await write(row);
    }
  };
}

export const metricsListener = (path: string): Listener => rowListener((row) => appendWhole(path, rowText(row)));

/** Scalars by the names of the columns. */
export const scalarListener = (writer: EventWriter): Listener => rowListener(async (row) => {
  for (const [key, value] of Object.entries(row)) if (key !== 'step' && value !== undefined) await writer.scalar(key, value, row.step);
});

/** @file Progress on stderr: one line that rewrites itself on a terminal, a line now and then elsewhere. */
import { withoutSecrets } from '../formats/url-secrets.js';
import type { Progress } from '../runs/progress.js';
import { inLine, rewriteLine } from './output.js';

function clock(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const s = Math.round(seconds);
  const pad = (n: number): string => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}` : `${Math.floor(s / 60)}:${pad(s % 60)}`;
}

/** Milliseconds between lines where the output is not a terminal. */
const QUIET_INTERVAL = 10_000;
/** Milliseconds between redraws on a terminal. */
const REDRAW_INTERVAL = 100;

/** A progress reporter for people. `quiet` keeps only warnings. */
export function terminalProgress(quiet: boolean, stream: NodeJS.WriteStream = process.stderr): Progress {
  let began = 0;
  let first = 0;
  let drawn = 0;
  let open = false;
  /** A count that has reached its end is told once, though rounded counts may reach it again and again. */
  let ended = false;
  const warned = new Set<string>();
  const endLine = (): void => {
    if (open) stream.write('\n');
    open = false;
  };
  return {
    phase(text) {
      began = 0;
      ended = false;
      if (quiet) return;
      endLine();
      stream.write(`${inLine(withoutSecrets(text))}\n`);
    },
    step(done, total, detail = '') {
      if (quiet) return;
      if (ended && done >= total) return;
      ended = done >= total;
      const now = Date.now();
      if (began === 0) [began, first, drawn] = [now, done, stream.isTTY ? 0 : now];
      const due = now - drawn >= (stream.isTTY ? REDRAW_INTERVAL : QUIET_INTERVAL);
      if (!due && done < total) return;
      drawn = now;
      const elapsed = (now - began) / 1000;
      const left = done > first ? (elapsed / (done - first)) * (total - done) : NaN;
      const text = `  ${done}/${total} ${inLine(detail)} [${clock(elapsed)} so far, ${clock(left)} left]`;
      if (stream.isTTY) rewriteLine(stream, text);
      else stream.write(`${text}\n`);
      open = stream.isTTY === true;
      if (done >= total) {
        endLine();
        began = 0;
      }
    },
    warn(text) {
      if (warned.has(text)) return; // a model may be opened twice
      warned.add(text);
      endLine();
      stream.write(`warning: ${inLine(withoutSecrets(text))}\n`);
    },
  };
}

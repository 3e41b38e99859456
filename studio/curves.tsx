/** @file The curves of one or several runs, a chart for each measure, with the controls that are common to them. */
import { signal } from '@preact/signals';
import type { JSX } from 'preact';
import { MEASURES } from '../src/evaluation/measures.js';
import { Chart } from './chart.js';
import type { Line } from './chart.js';
import { colorOf } from './colors.js';
import { column, logOf } from './logs.js';
import type { RunLog } from './logs.js';
import { shortNames } from './words.js';

const AXES = { step: 'step', seconds: 'seconds of training', rewardQueries: 'reward queries' } as const;
type AxisName = keyof typeof AXES;

const x = signal<AxisName>('step');
const smooth = signal(0.6);
const log = signal(false);

interface Chosen {
  readonly title: string;
  /** Columns of updates and of evaluations that go into it. */
  readonly updates?: string;
  readonly evaluations?: string;
  readonly mayBeLog?: boolean;
}

const KNOWN: readonly Chosen[] = [
  { title: 'Reward', updates: 'reward', evaluations: 'evalReward' },
  ...MEASURES.filter(({ name }) => name !== 'reward').map(({ name, title }) => ({ title, evaluations: name })),
  { title: 'Loss', updates: 'loss', mayBeLog: true },
  { title: 'Gradient norm', updates: 'gradNorm', mayBeLog: true },
];
const PART = 'evalReward/';
/** Not measures: what is spent, known beforehand, or an error of another column. */
const LEFT_OUT = new Set(['step', 'seconds', 'rewardQueries', 'denoiserCalls', 'heldOutError', 'winRateLow', 'winRateHigh', 'heldOutWinRateLow', 'heldOutWinRateHigh', 'ownGradNorm']);

/** Charts for all columns that some run has: the known ones, the parts of the reward, what else the method tells. */
function charts(logs: readonly RunLog[]): { main: Chosen[]; more: Chosen[] } {
  const names = new Set(logs.flatMap(({ columns }) => [...columns.keys()]));
  const has = (name: string | undefined): boolean => name !== undefined && names.has(name) && logs.some((l) => column(l, name).some((v) => v !== null));
  const main = KNOWN.filter(({ updates, evaluations }) => has(updates) || has(evaluations));
  const parts = [...names].filter((name) => name.startsWith(PART) && has(name)).map((name) => ({ title: `Reward ${name.slice(PART.length)}`, evaluations: name }));
  const told = new Set([...LEFT_OUT, ...KNOWN.flatMap(({ updates, evaluations }) => [updates, evaluations])]);
  const more = [...names].filter((name) => !told.has(name) && !name.startsWith(PART) && has(name)).map((name) => ({ title: name, updates: name }));
  return { main: [...main.slice(0, 1), ...parts, ...main.slice(1)], more };
}

function linesOf(runs: readonly string[], { updates, evaluations }: Chosen): Line[] {
  const single = runs.length === 1;
  const names = shortNames(runs);
  return runs.flatMap((run) => {
    const data = logOf(run);
    const xs = column(data, x.value);
    const color = single ? '--series-0' : colorOf(run);
    const line = (name: string, kind: Line['kind'], ink: string): Line => ({ name: single ? (kind === 'updates' ? 'updates' : 'evaluations') : names.get(run)!, color: ink, kind, xs, ys: column(data, name) });
    // Of several runs one curve each: their colours tell them apart, and evaluations of equal images compare best.
    const dots = evaluations && column(data, evaluations).some((v) => v !== null) ? [line(evaluations, 'evaluations', single && updates ? '--series-1' : color)] : [];
    if (updates === undefined || (!single && dots.length > 0)) return dots;
    return [...(column(data, updates).some((v) => v !== null) ? [line(updates, 'updates', color)] : []), ...dots];
  });
}

export function Curves({ runs }: { runs: readonly string[] }): JSX.Element {
  const logs = runs.map(logOf);
  const total = logs.reduce((n, l) => n + l.version.value, 0); // subscribes to each
  const { main, more } = charts(logs);
  const thinned = logs.some((l) => l.thinnedFrom !== null);
  const one = (chosen: Chosen): JSX.Element => (
    <Chart key={chosen.title} title={chosen.title} lines={linesOf(runs, chosen)} x={AXES[x.value]} smooth={smooth.value} log={log.value && chosen.mayBeLog === true} />
  );
  return (
    <section aria-label="Curves">
      <div class="bar controls">
        <label>By <select value={x.value} onChange={(e) => (x.value = e.currentTarget.value as AxisName)}>
          {Object.entries(AXES).map(([name, text]) => <option key={name} value={name}>{text}</option>)}
        </select></label>
        <label>Smoothing <input type="range" min="0" max="0.98" step="0.02" value={smooth.value} onInput={(e) => (smooth.value = Number(e.currentTarget.value))} /></label>
        <label><input type="checkbox" checked={log.value} onChange={(e) => (log.value = e.currentTarget.checked)} /> logarithmic loss</label>
        <span class="muted hint">drag to zoom, double-click to go back</span>
      </div>
      {total === 0 || main.length === 0 ? <p class="muted">No numbers yet.</p> : <div class="charts">{main.map(one)}</div>}
      {thinned ? <p class="muted">Of long runs the lows and highs of each stretch are drawn.</p> : null}
      {more.length > 0 ? <details><summary>{more.length} more of the method</summary><div class="charts">{more.map(one)}</div></details> : null}
    </section>
  );
}

/** @file The tables of a comparison as texts, for the page and for Markdown alike. */
import { bootstrapInterval } from '../evaluation/bootstrap.js';
import { intervalText } from '../evaluation/compared.js';
import type { Changes } from '../evaluation/compared.js';
import { MEASURES as MEASURED } from '../evaluation/measures.js';
import { numberText } from '../evaluation/ticks.js';
import { MEASURES } from './results.js';
import type { EntryResult, Measure, Measures, Results } from './results.js';
import { COST_NAMES } from './statistics.js';
import type { Cost, Reach, Spread } from './statistics.js';

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const counted = (x: number): string => Math.round(x).toLocaleString('en');
const measured = (x: number): string => numberText(x);
const percent = (x: number): string => `${Math.round(100 * x)}%`;

type Written = readonly [title: string, write: (x: number) => string];
const WRITTEN: Readonly<Record<string, Written>> = {
  ...Object.fromEntries(MEASURED.map(({ name, head, share }): [string, Written] => [name, [head, share ? percent : measured]])),
  step: ['updates', counted],
  rewardQueries: ['reward queries', counted],
  denoiserCalls: ['denoiser calls', counted],
  seconds: ['seconds', (x) => numberText(x, x < 100 ? 2 : 3)],
  peakBytes: ['peak MiB', (x) => counted(x / 2 ** 20)],
};

/** "0.335 ± 0.012"; a deviation that would be read as exactness where it is 0 is left out. */
function spreadText(spread: Spread | undefined, write: (x: number) => string): string {
  if (!spread) return '–';
  const { mean, deviation } = spread;
  if (deviation === null || write(deviation) === write(0)) return write(mean);
  const error = write === measured ? numberText(deviation, 2) : write(deviation);
  return `${write(mean)} ± ${error}`;
}

/** A row per entry: mean ± sample deviation over seeds. */
export function resultTable(results: Results, at: (entry: EntryResult) => Measures): Table {
  const present = MEASURES.filter((m) => results.entries.some((e) => at(e)[m]));
  const from = results.entries.find((e) => e.name === 'base');
  const base = from && at(from).diversity?.mean;
  // Diversity has a second column: its share of the base model's.
  const beside = (m: Measure, text: string): string[] => (m === 'diversity' && base !== undefined ? [text] : []);
  const kept = ({ diversity }: Measures): string => (diversity ? percent(diversity.mean / base!) : '–');
  const row = (of: Measures): string[] =>
    present.flatMap((m) => [spreadText(of[m], WRITTEN[m]![1]), ...beside(m, kept(of))]);
  return {
    head: ['', 'seeds', ...present.flatMap((m) => [WRITTEN[m]![0], ...beside(m, 'of the base')])],
    rows: results.entries.map((e) => [e.name, String(e.seeds.length), ...row(at(e))]),
  };
}

/** What each entry changed where nothing chose it: means with 95% intervals over the prompts; null if no run tells it. */
export function changeTable(results: Results): Table | null {
  const told = results.entries.filter((e) => e.changes !== null && e.changes.gain.length > 0);
  if (told.length === 0) return null;
  const columns = ([['gain, deviations', 'gain'], ['wins', 'wins'], ['held-out reward', 'heldOut'], ['diversity', 'diversity']] as const)
    .filter(([, of]) => told.some((e) => e.changes![of]));
  const cell = (changes: readonly number[] | undefined, of: keyof Changes): string => {
    if (!changes) return '–';
    const mean = changes.reduce((a, b) => a + b, 0) / changes.length;
    if (of === 'wins') {
      const sure = bootstrapInterval(changes);
      return `${percent(mean)}${sure ? ` (${percent(Math.max(0, sure.low))} to ${percent(Math.min(1, sure.high))})` : ''}`;
    }
    const interval = intervalText(changes);
    return `${mean < 0 ? '−' : '+'}${numberText(Math.abs(mean))}${interval === '' ? '' : ` (${interval})`}`;
  };
  return { head: ['', ...columns.map(([name]) => name)], rows: told.map((e) => [e.name, ...columns.map(([, of]) => cell(e.changes![of], of))]) };
}

function reachText({ cost, reached, seeds }: Reach, write: (x: number) => string): string {
  if (cost === null) return 'not reached';
  return reached === seeds ? write(cost) : `${write(cost)} (${reached} of ${seeds} seeds)`;
}

/** What each entry pays for the threshold, and how many times the queries of the cheapest that is. */
export function priceTable(results: Results): Table | null {
  const { price } = results;
  if (!price) return null;
  const rows = Object.entries(price.by);
  const costs = Object.keys(COST_NAMES) as Cost[];
  const cheapest = Math.min(...rows.map(([, by]) => by.rewardQueries.cost ?? Infinity));
  const times = ({ cost }: Reach): string =>
    (cost === null || cheapest === 0 ? '–' : `× ${numberText(cost / cheapest, 2)}`);
  const written = (c: Cost): ((x: number) => string) => (c === 'seconds' ? WRITTEN['seconds']![1] : counted);
  return {
    head: ['', ...costs.map((c) => COST_NAMES[c]), 'queries, relative'],
    rows: rows.map(([name, by]) =>
      [name, ...costs.map((c) => reachText(by[c], written(c))), times(by.rewardQueries)]),
  };
}

/** Reward queries of each entry (row) for the final reward of each entry that gained (column). */
export function queryMatrix(results: Results): Table | null {
  const rows = Object.entries(results.queriesForFinal);
  const targets = Object.keys(rows[0]?.[1] ?? {});
  if (targets.length === 0) return null;
  const reward = (name: string): string => numberText(results.entries.find((e) => e.name === name)!.last.reward!.mean);
  return {
    head: ['', ...targets.map((t) => `${t} (${reward(t)})`)],
    rows: rows.map(([name, by]) => [name, ...targets.map((t) => reachText(by[t]!, counted))]),
  };
}

/** GitHub's form of a table; the columns after the first are set to the right. */
export function markdownTable({ head, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((c) => c.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

/** @file A chart of curves by uPlot: raw values behind smoothed ones, evaluations as dots, and the numbers under the pointer. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import uPlot from 'uplot';
import { numberText, tickText } from '../src/evaluation/ticks.js';
import type { Values } from './logs.js';

export interface Line {
  readonly name: string;
  /** CSS variable of its colour. */
  readonly color: string;
  /** Values of every update, which are smoothed; or of evaluations, which are dots. */
  readonly kind: 'updates' | 'evaluations';
  readonly xs: Values;
  readonly ys: Values;
}

export interface ChartProps {
  readonly title: string;
  readonly note?: string;
  readonly lines: readonly Line[];
  readonly x: string;
  /** 0: not at all; up to 0.99. */
  readonly smooth: number;
  readonly log: boolean;
}

const HEIGHT = 230;
const FONT = '12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif';

const cssColor = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Both coordinates, where there are both, left to right. */
function pointsOf({ xs, ys }: Line, log: boolean): [number[], number[]] {
  const [x, y]: [number[], number[]] = [[], []];
  for (let i = 0; i < ys.length; i++) {
    const [a, b] = [xs[i], ys[i]];
    if (a === null || a === undefined || b === null || b === undefined || (log && b <= 0)) continue;
    if (x.length > 0 && a <= x.at(-1)!) continue;
    x.push(a);
    y.push(b);
  }
  return [x, y];
}

/** A running mean whose weights fall by the factor `smooth` a value, from the first value on. */
function smoothed(values: readonly number[], smooth: number): number[] {
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    sum = smooth * sum + value;
    weight = smooth * weight + 1;
    return sum / weight;
  });
}

interface Drawn {
  readonly data: uPlot.AlignedData;
  readonly series: uPlot.Series[];
  /** Names by series; '' for those that are not told. */
  readonly names: readonly string[];
}

function drawn(lines: readonly Line[], smooth: number, log: boolean): Drawn {
  const tables: uPlot.AlignedData[] = [];
  const series: uPlot.Series[] = [{}];
  const names = [''];
  for (const line of lines) {
    const [x, y] = pointsOf(line, log);
    const stroke = cssColor(line.color);
    const dots = line.kind === 'evaluations';
    const both = !dots && smooth > 0;
    tables.push(both ? [x, y, smoothed(y, smooth)] : [x, y]);
    series.push({
      label: line.name, stroke, spanGaps: true, width: both ? 1 : 2, alpha: both ? 0.35 : 1,
      points: { show: dots || x.length === 1, size: 7, fill: stroke, stroke: cssColor('--surface'), width: 1.5 },
    });
    names.push(both ? '' : line.name);
    if (both) {
      series.push({ label: line.name, stroke, spanGaps: true, width: 2, points: { show: false } });
      names.push(line.name);
    }
  }
  return { data: tables.length > 0 ? uPlot.join(tables) : [[]], series, names };
}

/** Decimals that ticks at equal distances need. */
function decimalsOf([a = 0, b = a + 1]: readonly number[]): number {
  const decimals = [0, 1, 2, 3, 4, 5, 6, 7, 8].find((d) => Math.abs((b - a) * 10 ** d - Math.round((b - a) * 10 ** d)) < 1e-4);
  return decimals ?? 9;
}

/** Room for the longest tick. */
const tickRoom = (texts: readonly string[] | null): number => 14 + 7 * Math.max(2, ...(texts ?? []).map((t) => t.length));

function options(width: number, { series }: Drawn, log: boolean, told: (index: number | null) => void): uPlot.Options {
  const [muted, grid] = [cssColor('--muted'), cssColor('--line')];
  const texts = (values: readonly number[]): string[] => values.map((v) => tickText(v, decimalsOf(values)));
  const scale = { stroke: muted, font: FONT, ticks: { show: false }, grid: { stroke: grid, width: 1 } };
  return {
    width, height: HEIGHT, series, legend: { show: false },
    cursor: { sync: { key: 'curves', scales: ['x', null] }, points: { size: 8 }, focus: { prox: -1 } },
    scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
    axes: [
      { ...scale, grid: { show: false }, values: (_, v) => texts(v), size: 28, space: 60 },
      { ...scale, values: (_, v) => (log ? v.map((x) => (x === null ? '' : numberText(x, 1))) : texts(v)), size: (_, v) => tickRoom(v), space: 38 },
    ],
    padding: [10, 10, 0, 0],
    hooks: { setCursor: [(u) => told(u.cursor.idx ?? null)] },
  };
}

/** Rows of the table behind a chart. */
const MOST_LISTED = 40;

export function Chart({ title, note, lines, x, smooth, log }: ChartProps): JSX.Element | null {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const [, setTheme] = useState(0);
  const now = drawn(lines, smooth, log);
  const shape = JSON.stringify([lines.map(({ name, color, kind }) => [name, color, kind]), smooth > 0, log, x]);
  const dark = matchMedia('(prefers-color-scheme: dark)');

  useEffect(() => {
    const on = (): void => setTheme((n) => n + 1);
    dark.addEventListener('change', on);
    return () => dark.removeEventListener('change', on);
  }, []);
  useEffect(() => {
    const box = place.current!;
    const made = new uPlot(options(box.clientWidth, now, log, setAt), now.data, box);
    plot.current = made;
    const sized = new ResizeObserver(() => box.clientWidth > 0 && made.setSize({ width: box.clientWidth, height: HEIGHT }));
    sized.observe(box);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, dark.matches]);
  useEffect(() => {
    const u = plot.current;
    if (!u || u.series.length !== now.series.length) return;
    const xs = u.data[0];
    const { min, max } = u.scales['x']!;
    const zoomed = xs.length > 1 && min != null && max != null && (min > xs[0]! || max < xs.at(-1)!);
    u.setData(now.data, !zoomed);
    if (zoomed) u.redraw();
  });

  const { data, names } = now;
  const told = at !== null && data[0][at] !== undefined ? at : null;
  const valueAt = (series: number, index: number): number | null => {
    const values = data[series]!;
    for (let i = index; i >= 0; i--) if (values[i] !== null && values[i] !== undefined) return values[i]!;
    return null;
  };
  const shown = names.flatMap((name, i) => (name === '' ? [] : [{ name, i }]));
  const last = data[0].length - 1;
  return (
    <figure class="chart">
      <figcaption>
        <b>{title}</b>
        <span class="readout">
          {shown.map(({ name, i }) => {
            const value = valueAt(i, told ?? last);
            return (
              <span key={i} class="value">
                <i style={{ background: String(now.series[i]!.stroke) }} />
                {shown.length > 1 ? <em>{name}</em> : null}{value === null ? '–' : numberText(value)}
              </span>
            );
          })}
          <span class="muted">{told === null ? 'last' : `${x} ${numberText(data[0][told]!, 4)}`}</span>
        </span>
      </figcaption>
      <div class="plot" ref={place} role="img" aria-label={`${title} by ${x}: ${shown.map(({ name }) => name).join(', ')}`} />
      {note ? <p class="note muted">{note}</p> : null}
      <TableBehind title={title} x={x} data={data} shown={shown} />
    </figure>
  );
}

function TableBehind({ title, x, data, shown }: { title: string; x: string; data: uPlot.AlignedData; shown: { name: string; i: number }[] }): JSX.Element {
  const [open, setOpen] = useState(false);
  const count = data[0].length;
  const step = Math.max(1, Math.ceil(count / MOST_LISTED));
  const rows = open ? Array.from({ length: Math.ceil(count / step) }, (_, k) => Math.min(count - 1, k * step)) : [];
  return (
    <details class="behind" onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary aria-label={`Numbers of ${title}`}>Numbers</summary>
      <div class="scroll">
        <table>
          <thead><tr><th scope="col">{x}</th>{shown.map(({ name, i }) => <th scope="col" key={i}>{name}</th>)}</tr></thead>
          <tbody>
            {rows.map((k) => (
              <tr key={k}>
                <th scope="row">{numberText(data[0][k]!, 4)}</th>
                {shown.map(({ i }) => <td key={i}>{data[i]![k] === null || data[i]![k] === undefined ? '' : numberText(data[i]![k]!)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

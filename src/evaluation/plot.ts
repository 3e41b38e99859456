/** @file Line and scatter plots as SVG documents, for web pages, documentation and (through sharp) PNG files. */
import { escapeXml } from '../formats/xml.js';
import { besideLevel, placeLabels, spreadOut, textWidth } from './plot-labels.js';
import type { Box, PlacedLabel } from './plot-labels.js';
import { plotStyle, SERIES_COLORS } from './plot-style.js';
import type { Theme } from './plot-style.js';
import { axis, numberText, tickText } from './ticks.js';
import type { Axis } from './ticks.js';

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Written beside the point. */
  readonly label?: string;
}

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  /** Points joined in their order, points alone, or both. Default 'line'. */
  readonly marks?: 'line' | 'points' | 'both';
  /**
   * Index into the palette; by default the series' position. A series keeps its colour from plot to plot this way. Past
   * the palette's end the colours come again, with dashed lines and hollow dots.
   */
  readonly color?: number;
  /** A thin, pale line without name: raw values behind their running mean. */
  readonly faint?: boolean;
  /** The half-height of a band around each point, a deviation for instance, or how far it reaches below and above. */
  readonly spread?: readonly (number | readonly [below: number, above: number])[];
}

export interface PlotOptions {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  /** Levels to compare with, as dashed lines. */
  readonly levels?: readonly { readonly y: number; readonly label: string }[];
  /** Default 'auto': light or dark as the reader's system prefers. */
  readonly theme?: Theme | 'auto';
  readonly width?: number;
  readonly height?: number;
}

const FONT = 12;
const SMALL = 11;
const GAP = 8;
const DOT = 4.5;

const f = (n: number): string => String(Math.round(n * 100) / 100);

type Attributes = Readonly<Record<string, string | number>>;

function text(content: string, x: number, y: number, attributes: Attributes = {}): string {
  const all = Object.entries({ class: 'mut', 'font-size': FONT, ...attributes }).map(([key, v]) => ` ${key}="${v}"`);
  return `<text x="${f(x)}" y="${f(y)}"${all.join('')}>${escapeXml(content)}</text>`;
}

interface Frame {
  left: number;
  right: number;
  top: number;
  bottom: number;
  x(value: number): number;
  y(value: number): number;
}

/** The plot as one SVG element. Points that are not finite are left out. */
export function plot(series: readonly Series[], options: PlotOptions): string {
  const { title, width = 460, height = 300, theme = 'auto', levels = [] } = options;
  const drawn = series.map((s, i) => ({ ...s, ...finite(s), ...lookOf(s.color ?? i) }))
    .filter((s) => s.points.length > 0);
  const named = drawn.filter((s) => !s.faint);
  // Curves fill the width; clouds of points get round limits.
  const tight = drawn.some((s) => (s.marks ?? 'line') === 'line');
  const xs = axis(drawn.flatMap((s) => s.points.map((p) => p.x)), width / 90, tight);
  const ys = axis([...drawn.flatMap(reach), ...levels.map((l) => l.y)], height / 55);

  // One series is named by the axis; a few lines by labels at their ends; more, or crowded ones, by a legend.
  const ends = named.length > 1 && named.length <= 4 && named.every((s) => s.marks !== 'points'
    && textWidth(s.name, FONT) < width / 4 && s.points.every((p) => p.label === undefined));
  const legend = !ends && named.length > 1 ? legendRows(named, width - 2 * GAP) : { svg: '', height: 0 };
  const widest = (texts: readonly string[]): number => Math.max(...texts.map((t) => textWidth(t, FONT)));
  const tickWidth = ({ ticks, decimals }: Axis): number => widest(ticks.map((t) => tickText(t, decimals)));
  const frame = place(xs, ys, {
    left: GAP + tickWidth(ys) + 6,
    right: width - (ends ? widest(named.map((s) => s.name)) + 14 : tickWidth(xs) / 2 + 6),
    top: 50 + legend.height,
    bottom: height - 38,
  });

  const body = [
    grid(frame, xs, ys),
    ...levels.map(({ y }) => `<path class="axis dash" d="M${f(frame.left)} ${f(frame.y(y))}H${f(frame.right)}"/>`),
    ...drawn.map((s) => band(frame, s)),
    ...drawn.map((s) => line(frame, s)),
    ...named.map((s) => marks(frame, s)),
    ends ? endLabels(frame, named) : '',
    pointLabels(frame, named),
    levelLabels(frame, drawn, levels),
  ];
  const head = text(title, GAP, 18, { class: 'ink', 'font-size': 14, 'font-weight': 600 })
    + text(options.y, GAP, frame.top - 11)
    + text(options.x, frame.right, height - 6, { 'text-anchor': 'end' });
  const label = escapeXml(`${title}: ${options.y} by ${options.x}, ${named.map((s) => s.name).join(', ')}`);
  return `<svg xmlns="http://www.w3.org/2000/svg" class="ap" viewBox="0 0 ${width} ${height}" width="${width}" `
    + `height="${height}" role="img" aria-label="${label}"><style>${plotStyle(theme)}</style>`
    + `<rect class="bg" width="${width}" height="${height}" rx="6"/>${head}${legend.svg}${body.join('')}</svg>`;
}

type Drawn = Series & Look;

interface Look {
  color: number;
  /** Colours come for the second time: dashed lines, hollow dots. */
  again: boolean;
}

const lookOf = (index: number): Look => ({ color: index % SERIES_COLORS, again: index >= SERIES_COLORS });
const dotClass = ({ color, again }: Look): string => (again ? `bg l${color} hollow` : `f${color} halo`);
const lineClass = ({ color, again }: Look): string => `line l${color}${again ? ' dash' : ''}`;

function finite({ points, spread }: Series): Pick<Series, 'points' | 'spread'> {
  const keep = points.map((p) => Number.isFinite(p.x) && Number.isFinite(p.y));
  return {
    points: points.filter((_, i) => keep[i]),
    ...(spread && { spread: spread.filter((_, i) => keep[i]) }),
  };
}

const reachOf = (spread: NonNullable<Series['spread']>[number] | undefined, side: 0 | 1): number =>
  (typeof spread === 'object' ? spread[side] : spread ?? 0);

/** All heights that a series reaches, its band included. */
function reach({ points, spread }: Series): number[] {
  return points.flatMap((p, i) => [p.y - reachOf(spread?.[i], 0), p.y + reachOf(spread?.[i], 1)]);
}

function place(xs: Axis, ys: Axis, box: Omit<Frame, 'x' | 'y'>): Frame {
  return {
    ...box,
    x: (v) => box.left + ((v - xs.low) / (xs.high - xs.low)) * (box.right - box.left),
    y: (v) => box.bottom - ((v - ys.low) / (ys.high - ys.low)) * (box.bottom - box.top),
  };
}

function grid(frame: Frame, xs: Axis, ys: Axis): string {
  const { left, right, bottom } = frame;
  const rows = ys.ticks.map((t) => {
    const y = f(frame.y(t));
    return `<path class="grid" d="M${f(left)} ${y}H${f(right)}"/>`
      + text(tickText(t, ys.decimals), left - 6, frame.y(t) + 4, { 'text-anchor': 'end' });
  });
  const columns = xs.ticks.map((t) => `<path class="axis" d="M${f(frame.x(t))} ${f(bottom)}v4"/>`
    + text(tickText(t, xs.decimals), frame.x(t), bottom + 17, { 'text-anchor': 'middle' }));
  return `${rows.join('')}<path class="axis" d="M${f(left)} ${f(bottom)}H${f(right)}"/>${columns.join('')}`;
}

const pathOf = (frame: Frame, points: readonly Point[]): string =>
  points.map((p, i) => `${i ? 'L' : 'M'}${f(frame.x(p.x))} ${f(frame.y(p.y))}`).join('');

function band(frame: Frame, { points, spread, color }: Drawn): string {
  if (!spread) return '';
  const above = points.map((p, i): Point => ({ x: p.x, y: p.y + reachOf(spread[i], 1) }));
  const below = points.map((p, i): Point => ({ x: p.x, y: p.y - reachOf(spread[i], 0) }));
  const outline = pathOf(frame, [...above, ...below.toReversed()]);
  return `<path class="band f${color}" d="${outline}Z"/>`;
}

function line(frame: Frame, series: Drawn): string {
  const { points, marks: kind = 'line', faint } = series;
  if (kind === 'points') return '';
  return `<path class="${lineClass(series)}${faint ? ' faint' : ''}" d="${pathOf(frame, points)}"/>`;
}

/** Dots, at the end only of a plain line, and over each an invisible disc that shows the numbers under the pointer. */
function marks(frame: Frame, series: Drawn): string {
  const { name, points, marks: kind = 'line' } = series;
  return (kind === 'line' ? points.slice(-1) : points).map((p) => {
    const [x, y] = [f(frame.x(p.x)), f(frame.y(p.y))];
    const dot = `<circle class="${dotClass(series)}" cx="${x}" cy="${y}" r="${DOT}"/>`;
    const tip = `${name}${p.label === undefined ? '' : ` (${p.label})`}: ${numberText(p.x)}, ${numberText(p.y)}`;
    return `${dot}<circle class="hit" cx="${x}" cy="${y}" r="9"><title>${escapeXml(tip)}</title></circle>`;
  }).join('');
}

/** Small text that stays readable across lines. */
const edged = (label: PlacedLabel): string =>
  text(label.text, label.x, label.y, { class: 'mut edge', 'font-size': SMALL });

const around = (x: number, y: number): Box => ({ left: x - DOT, right: x + DOT, top: y - DOT, bottom: y + DOT });

function pointLabels(frame: Frame, series: readonly Drawn[]): string {
  const taken = series.flatMap((s) => alongLine(frame, s));
  const labels = series.flatMap((s) => s.points.flatMap((p) =>
    (p.label === undefined ? [] : [{ text: p.label, x: frame.x(p.x), y: frame.y(p.y) }])));
  return placeLabels(labels, SMALL, { ...frame, top: frame.top - 6 }, taken).map(edged).join('');
}

function levelLabels(frame: Frame, series: readonly Drawn[], levels: NonNullable<PlotOptions['levels']>): string {
  const taken = series.flatMap((s) => alongLine(frame, s));
  return levels.map(({ y, label }) =>
    edged({ text: label, ...besideLevel(frame.y(y), textWidth(label, SMALL), SMALL, frame, taken) })).join('');
}

/** Boxes that cover a series' line, or its dots. */
function alongLine(frame: Frame, { points, marks: kind }: Drawn): Box[] {
  return points.flatMap((p, i) => {
    const [x, y] = [frame.x(p.x), frame.y(p.y)];
    const next = kind === 'points' ? undefined : points[i + 1];
    if (!next) return [around(x, y)];
    const [dx, dy] = [frame.x(next.x) - x, frame.y(next.y) - y];
    const count = Math.ceil(Math.hypot(dx, dy) / (2 * DOT)) || 1;
    return Array.from({ length: count }, (_, k) => around(x + (dx * k) / count, y + (dy * k) / count));
  });
}

/** Names at the ends of lines, moved apart where they would overlap. */
function endLabels(frame: Frame, series: readonly Drawn[]): string {
  const ends = series.map((s) => s.points.at(-1)!);
  const heights = spreadOut(ends.map((p) => frame.y(p.y)), FONT + 3, frame.bottom);
  return series.map((s, i) => text(s.name, frame.x(ends[i]!.x) + 9, heights[i]! + 4, { class: 'ink' })).join('');
}

/** Names with their marks, in as many rows as they need. */
function legendRows(series: readonly Drawn[], room: number): { svg: string; height: number } {
  let [x, row] = [GAP, 0];
  const items = series.map((s) => {
    const { name, marks: kind } = s;
    const need = 20 + textWidth(name, FONT) + 14;
    if (x > GAP && x + need > room) [x, row] = [GAP, row + 1];
    const y = 38 + row * 18;
    const key = kind === 'points'
      ? `<circle class="${dotClass(s)}" cx="${f(x + 7)}" cy="${y - 4}" r="4.5"/>`
      : `<path class="${lineClass(s)}" d="M${f(x)} ${y - 4}h14"/>`;
    const item = key + text(name, x + 20, y, { class: 'ink' });
    x += need;
    return item;
  });
  return { svg: items.join(''), height: (row + 1) * 18 + 4 };
}

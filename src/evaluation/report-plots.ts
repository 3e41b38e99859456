/** @file The plots of a run's report: what a gain costs, and the curves of training. */
import type { Evaluation } from './evaluation.js';
import type { Strength } from './gallery.js';
import { Html } from './html.js';
import { measuresOf } from './measures.js';
import type { Measure } from './measures.js';
import { plot } from './plot.js';
import type { PlotOptions, Point, Series } from './plot.js';
import type { RunReport, StepMetrics } from './report.js';

const SIZE = { width: 400, height: 270 };
const chart = (series: readonly Series[], options: PlotOptions): Html =>
  new Html(plot(series, { ...SIZE, ...options }));
const labelled = (x: number, y: number | undefined, label: string | undefined): Point =>
  ({ x, y: y ?? NaN, ...(label !== undefined && { label }) });

type Level = NonNullable<PlotOptions['levels']>[number];
function levelsOf({ evaluations: [base], guard }: RunReport, name: Measure['name']): Level[] {
  if (name === 'winRate' || name === 'heldOutWinRate') return [{ y: 0.5, label: 'no better, no worse' }];
  return name === 'diversity' && base!.diversity !== undefined ? [{ y: guard.minDiversity * base!.diversity, label: 'the guard\'s limit' }] : [];
}

/** Colours that measures keep from plot to plot. */
const COLORS: Partial<Record<Measure['name'], number>> = { heldOutReward: 1, heldOutWinRate: 1, diversity: 2, drift: 4, driftLpips: 4 };
const colorOf = ({ name }: Measure): number => COLORS[name] ?? (name === 'reward' || name === 'winRate' ? 0 : 3);
const axisOf = ({ name, axis, title }: Measure, run: RunReport): string => ({
  reward: run.rewardName, heldOutReward: `${run.heldOutName ?? 'judge'}, ± standard error`,
} as Partial<Record<Measure['name'], string>>)[name] ?? axis ?? title;

/** Reward against diversity, and measures by LoRA strength. */
export function costPlots(run: RunReport): Html[] {
  return [...(run.evaluations[0]!.diversity === undefined ? [] : [front(run)]), ...strengthPlots(run)];
}

function front(run: RunReport): Html {
  const best = run.evaluations[run.verdict.best]!;
  const named = new Map([[run.evaluations.length - 1, `step ${run.evaluations.at(-1)!.step}`],
    [run.verdict.best, `best, step ${best.step}`], [0, 'base']]);
  const checkpoints = run.evaluations.map((e, i) => labelled(e.reward, e.diversity, named.get(i)));
  // Strength 0 is the base model, which already has its name.
  const strengths = run.sweep.map(({ strength, reward, diversity }) =>
    labelled(reward, diversity, strength > 0 && Number.isInteger(2 * strength) ? `× ${strength}` : undefined));
  return chart([
    { name: 'training steps', points: checkpoints, marks: 'both' },
    { name: 'LoRA strength', points: strengths, marks: 'both', color: 1 },
  ], { title: 'Reward against diversity', x: run.rewardName, y: 'diversity', levels: levelsOf(run, 'diversity') });
}

const BY_STRENGTH: readonly Measure['name'][] = ['reward', 'heldOutReward', 'diversity', 'drift'];

function strengthPlots(run: RunReport): Html[] {
  if (run.sweep.length < 2) return [];
  return measuresOf(run.sweep).filter(({ name }) => BY_STRENGTH.includes(name)).map((m) => chart([measured(m, run.sweep, (s) => s.strength)],
    { title: `${m.title} by LoRA strength`, x: 'LoRA strength', y: axisOf(m, run), levels: levelsOf(run, m.name) }));
}

/** A measure over evaluations, with the band of its error or interval. */
function measured<E extends Evaluation | Strength>(m: Measure, evaluations: readonly E[], at: (e: E) => number): Series {
  const { name, title } = m;
  const points = evaluations.map((e) => ({ x: at(e), y: e[name] ?? NaN }));
  const spread = name === 'heldOutReward' ? evaluations.map((e) => e.heldOutError ?? 0)
    : name === 'winRate' || name === 'heldOutWinRate' ? evaluations.map((e) => [e[name]! - e[`${name}Low`]!, e[`${name}High`]! - e[name]!] as const)
      : null;
  return { name: title, color: colorOf(m), marks: 'both', points, ...(spread && { spread }) };
}

/** Updates and evaluations over the run. */
export function curves(run: RunReport): Html[] {
  const steps = (of: (s: StepMetrics) => number): Point[] => run.steps.map((s) => ({ x: s.step, y: of(s) }));
  const noisy = (name: string, points: readonly Point[], color: number): Series[] => {
    const raw = thinned(points.filter((p) => Number.isFinite(p.y)));
    return raw.length === 0 ? [] : [{ name, points: raw, faint: true, color }, { name, points: runningMean(raw), color }];
  };
  const x = 'step';
  const evaluated = { name: 'evaluated', color: 4, marks: 'both' as const, points: run.evaluations.map((e) => ({ x: e.step, y: e.reward })) };
  const update = (name: string, of: (s: StepMetrics) => number, options: Pick<PlotOptions, 'title' | 'y'>): Html[] => {
    const series = noisy(name, steps(of), 0);
    return series.length === 0 ? [] : [chart(series, { ...options, x })];
  };
  return [
    chart([...noisy('batches', steps((s) => s.reward), 0), evaluated], { title: 'Reward', x, y: run.rewardName }),
    ...measuresOf(run.evaluations).filter(({ name }) => name !== 'reward').map((m) =>
      chart([measured(m, run.evaluations, (e) => e.step)], { title: m.title, x, y: axisOf(m, run), levels: levelsOf(run, m.name) })),
    ...update('loss', (s) => s.loss, { title: 'Loss', y: 'what is minimised' }),
    ...update('gradient', (s) => s.gradNorm, { title: 'Gradient norm', y: 'norm before clipping' }),
  ];
}

/** Mean over a twentieth of the points, centred on each, so that it does not lag behind. */
function runningMean(points: readonly Point[]): Point[] {
  const half = Math.max(2, Math.round(points.length / 40));
  return points.map(({ x }, i) => ({ x, y: meanOf(points.slice(Math.max(0, i - half), i + half + 1), (p) => p.y) }));
}

const meanOf = (points: readonly Point[], of: (p: Point) => number): number =>
  points.reduce((sum, p) => sum + of(p), 0) / points.length;

const MOST_POINTS = 300;

/** At most so many points, each the mean of its neighbours: a long run must not make a large page. */
function thinned(points: readonly Point[]): Point[] {
  const size = Math.ceil(points.length / MOST_POINTS);
  if (size <= 1) return [...points];
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const part = points.slice(i * size, (i + 1) * size);
    return { x: meanOf(part, (p) => p.x), y: meanOf(part, (p) => p.y) };
  });
}

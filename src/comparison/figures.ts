/** @file The figures of a comparison: reward by what it cost, and what a gain costs in diversity and distance. */
import { plot } from '../evaluation/plot.js';
import type { PlotOptions, Point, Series } from '../evaluation/plot.js';
import type { EntryResult, Measure, Measures, Results } from './results.js';
import type { Cost } from './statistics.js';

export interface Figure {
  /** File name without ending. */
  readonly name: string;
  /** What it shows, in a sentence. */
  readonly caption: string;
  /** The SVG document, for light pages, dark ones, or ('auto') as the reader's system prefers. */
  draw(theme: 'light' | 'auto'): string;
}

const SIZE = { width: 620, height: 420 };

const rewardOf = ({ common }: Results): string => common.rewards.join(' + ');
const meanOf = (measures: Measures, name: Measure): number => measures[name]?.mean ?? NaN;
const isTrained = (results: Results, { name }: EntryResult): boolean => Object.hasOwn(results.comparison.entries, name);

/** An entry with the colour that it keeps through all figures. */
type Colored = EntryResult & { readonly color: number };

function split(results: Results): { trained: Colored[]; baselines: Colored[] } {
  const names = [...Object.keys(results.comparison.entries), ...results.entries.map((e) => e.name)];
  const colored = results.entries.map((e) => ({ ...e, color: names.indexOf(e.name) }));
  return {
    trained: colored.filter((e) => isTrained(results, e)),
    // The base model is where every line begins; its distance to itself is no measurement.
    baselines: colored.filter((e) => !isTrained(results, e) && e.name !== 'base'),
  };
}

function costCurve(results: Results, name: string, cost: Cost, x: string): Figure {
  const { trained, baselines } = split(results);
  const series = trained.map(({ name: entry, color, curve, seeds }): Series => ({
    name: entry, color, marks: 'both',
    points: curve.map((m) => ({ x: meanOf(m, cost), y: meanOf(m, 'reward') })),
    ...(seeds.length > 1 && { spread: curve.map((m) => m.reward?.deviation ?? 0) }),
  }));
  const levels = baselines.map((e) => ({ y: meanOf(e.last, 'reward'), label: e.name }));
  const options: PlotOptions = { title: `Reward by ${x}`, x, y: rewardOf(results), levels, ...SIZE };
  const band = trained.some((e) => e.seeds.length > 1) ? ' Bands are one standard deviation over seeds.' : '';
  return {
    name,
    caption: `Reward of the evaluation images by ${x}, mean over seeds.${band}`,
    draw: (theme) => plot(series, { ...options, theme }),
  };
}

type Path = (entry: EntryResult) => readonly Measures[];

function front(results: Results, name: string, measure: Measure, y: string, along: string, path: Path): Figure {
  const { trained, baselines } = split(results);
  const at = (measures: Measures, label?: string): Point =>
    ({ x: meanOf(measures, 'reward'), y: meanOf(measures, measure), ...(label !== undefined && { label }) });
  const lines = trained.map((entry): Series => {
    const stations = path(entry);
    return {
      name: entry.name, color: entry.color, marks: 'both',
      points: stations.map((m, i) => at(m, i === stations.length - 1 ? entry.name : undefined)),
    };
  });
  const points = baselines
    .map((e): Series => ({ name: e.name, color: e.color, marks: 'points', points: [at(e.last, e.name)] }));
  const options: PlotOptions = { title: `Reward against ${y}`, x: rewardOf(results), y: `${y}, ${along}`, ...SIZE };
  return {
    name,
    caption: `Reward against ${y}, ${along}, means over seeds.`,
    draw: (theme) => plot([...lines, ...points], { ...options, theme }),
  };
}

const checkpoints: Path = (entry) => entry.curve;
const strengths: Path = (entry) => entry.sweep;

/** All figures that the results have numbers for. */
export function figuresOf(results: Results): Figure[] {
  const { trained } = split(results);
  const heldOut = 'held-out reward';
  const has = (name: Measure): boolean => trained.some((e) => e.last[name] !== undefined);
  const swept = trained.some((e) => e.sweep.length > 1);
  const overTraining = 'over the checkpoints of training';
  const overStrengths = 'over strengths of the best LoRA';
  return [
    costCurve(results, 'reward-by-step', 'step', 'updates'),
    costCurve(results, 'reward-by-query', 'rewardQueries', 'reward queries'),
    costCurve(results, 'reward-by-second', 'seconds', 'seconds of training'),
    ...(has('diversity') ? [front(results, 'front-diversity', 'diversity', 'diversity', overTraining, checkpoints)] : []),
    ...(has('frechet') ? [front(results, 'front-frechet', 'frechet', 'Fréchet distance', overTraining, checkpoints)] : []),
    ...(has('heldOutReward') ? [front(results, 'front-held-out', 'heldOutReward', heldOut, overTraining, checkpoints)] : []),
    ...(swept && has('diversity')
      ? [front(results, 'strength-diversity', 'diversity', 'diversity', overStrengths, strengths)] : []),
    ...(swept && has('frechet')
      ? [front(results, 'strength-frechet', 'frechet', 'Fréchet distance', overStrengths, strengths)] : []),
  ];
}

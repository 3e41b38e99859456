/** @file What a model is measured by, in the order in which it is told: log rows, tables, tiles and plots are made of this list. */
import type { Evaluation } from './evaluation.js';
import { numberText } from './ticks.js';

export type MeasureName = Exclude<keyof Evaluation, 'step' | 'rewardParts' | 'heldOutError' | `${string}Low` | `${string}High`>;

export interface Measure {
  readonly name: MeasureName;
  readonly title: string;
  /** Over a column. */
  readonly head: string;
  /** What its axis counts, where that is not the title. */
  readonly axis?: string;
  /** Written as a percentage. */
  readonly share?: boolean;
}

export const MEASURES: readonly Measure[] = [
  { name: 'reward', title: 'Reward', head: 'reward' },
  { name: 'winRate', title: 'Win rate', head: 'wins', axis: 'share better than the base model\'s, 95% interval', share: true },
  { name: 'heldOutReward', title: 'Held-out reward', head: 'held-out' },
  { name: 'heldOutWinRate', title: 'Win rate, held-out', head: 'wins, held-out', axis: 'share that the judge likes more, 95% interval', share: true },
  { name: 'diversity', title: 'Diversity', head: 'diversity', axis: 'mean pairwise distance within a prompt' },
  { name: 'drift', title: 'Drift', head: 'drift', axis: 'mean distance to the base model\'s image of the same noise' },
  { name: 'driftLpips', title: 'Drift by LPIPS', head: 'LPIPS', axis: 'mean distance to the base model\'s image of the same noise' },
  { name: 'frechet', title: 'Fréchet distance', head: 'Fréchet', axis: 'to the base model\'s samples' },
  { name: 'frechetInfinity', title: 'Fréchet distance of infinitely many', head: 'Fréchet∞', axis: 'to the base model\'s samples' },
  { name: 'kid', title: 'Kernel distance', head: 'KID', axis: 'to the base model\'s samples, unbiased' },
];

/** Those that some of the evaluations have. */
export const measuresOf = (evaluations: readonly Partial<Evaluation>[]): Measure[] =>
  MEASURES.filter(({ name }) => evaluations.some((e) => e[name] !== undefined));

/** "62%" or "0.412"; a dash for what was not measured. */
export function measureText(name: MeasureName, value: number | undefined): string {
  if (value === undefined) return '–';
  return MEASURES.find((m) => m.name === name)!.share ? `${Math.round(100 * value)}%` : numberText(value);
}

/** A share's 95% interval, "51% to 73%"; empty where there is none. */
export function shareInterval(e: Partial<Evaluation>, name: 'winRate' | 'heldOutWinRate'): string {
  const [low, high] = [e[`${name}Low`], e[`${name}High`]];
  return low === undefined || high === undefined ? '' : `${measureText(name, low)} to ${measureText(name, high)}`;
}

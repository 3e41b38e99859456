/** @file Examines a reward on pictures: its scale, what it minds, whether its gradient is right, how easily it is hacked. */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { normal } from '../../random/random.js';
import { openGradient } from '../../rewards/gradient.js';
import type { Reward } from '../../rewards/reward.js';
import { joinRows, takeRows } from '../../rewards/rows.js';
import { openScorer } from '../../rewards/scorer.js';
import type { Execution } from '../../runtime/compile.js';
import { releasedOnFailure } from '../../host/resources.js';
import { deviation, meanOf, pairedDifference } from '../evaluation.js';
import type { Difference } from '../evaluation.js';
import { DISTURBANCES } from './disturbances.js';
import { ascend, checkSlopes, inward, slopeError } from './slopes.js';
import type { Slope } from './slopes.js';

export interface Picture {
  /** What it is called: a file, or the seed it was made from. */
  readonly label: string;
  readonly prompt: string;
  /** float32 [3, H, W] in [0, 1]; all of one size. */
  readonly image: HostTensor;
}

export interface Disturbed {
  readonly name: string;
  readonly what: string;
  /** Of the scores, disturbed less original. */
  readonly change: Difference;
  /** Spearman's correlation of the scores before and after. */
  readonly rank: number;
  /** The first picture so disturbed, and its score. */
  readonly example: HostTensor;
  readonly score: number;
}

export interface Hacked {
  /** Largest change of a pixel value. */
  readonly reach: number;
  /** Mean score before and after each step. */
  readonly scores: readonly number[];
  /** The same pictures after as large a change by chance, its mean score. */
  readonly byChance: number;
  readonly before: readonly HostTensor[];
  readonly after: readonly HostTensor[];
}

export interface RewardCheck {
  readonly name: string;
  readonly description: string;
  readonly pictures: readonly Picture[];
  readonly scores: readonly number[];
  readonly mean: number;
  /** Between pictures: the unit of what is told. */
  readonly deviation: number;
  /** Share of the variance that is between prompts; null for a single prompt or one picture of each. */
  readonly betweenPrompts: number | null;
  /** Scores with another picture's prompt less those with the own one: their mean and root mean square; null for a single prompt. */
  readonly otherPrompt: { readonly mean: number; readonly size: number } | null;
  readonly disturbed: readonly Disturbed[];
  /** Null for a black box. */
  readonly gradient: { readonly slopes: readonly Slope[]; readonly error: number; readonly shown: readonly number[] } | null;
  readonly hacked: readonly Hacked[];
}

export interface CheckOptions {
  readonly compile?: Execution;
  /** Steps of the ascent. */
  readonly steps?: number;
  readonly onPhase?: (text: string) => void;
}

/** Pictures that are disturbed; and those that gradients are taken of, one compiled batch. */
const DISTURBED = 12;
const CLIMBED = 4;
/** Levels of 255 that pixels may change by: hardly to be seen, and to be seen by who looks for it. */
const REACHES = [2, 8];

const stacked = (images: readonly HostTensor[]): HostTensor => joinRows(images.map((t) => host(t.data, [1, ...t.shape])));
const unstacked = (images: HostTensor): HostTensor[] => Array.from({ length: images.shape[0]! }, (_, i) => {
  const row = takeRows(images, i, 1);
  return host(row.data, row.shape.slice(1));
});

/** Evenly from all. */
const spread = (count: number, most: number): number[] =>
  Array.from({ length: Math.min(count, most) }, (_, i) => Math.floor((i * count) / Math.min(count, most)));

/** Ranks, the mean rank among equals. */
function ranks(values: readonly number[]): number[] {
  const sorted = values.toSorted((a, b) => a - b);
  return values.map((v) => (sorted.indexOf(v) + sorted.lastIndexOf(v)) / 2);
}

/** Spearman's rank correlation; 1 where either is constant and both are the same, NaN where only one is. */
function spearman(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [ranks(a), ranks(b)];
  const [mx, my] = [meanOf(x), meanOf(y)];
  const of = (u: number[], mu: number, v: number[], mv: number): number => u.reduce((s, w, i) => s + (w - mu) * (v[i]! - mv), 0);
  return of(x, mx, y, my) / Math.sqrt(of(x, mx, x, mx) * of(y, my, y, my));
}

/** How much of the variance prompts explain: that of their means over the whole (η²). */
function betweenPrompts(scores: readonly number[], prompts: readonly string[]): number | null {
  const groups = [...new Set(prompts)].map((p) => scores.filter((_, i) => prompts[i] === p));
  if (groups.length < 2 || groups.length === scores.length) return null;
  const mean = meanOf(scores);
  const total = scores.reduce((s, v) => s + (v - mean) ** 2, 0);
  return total === 0 ? null : groups.reduce((s, g) => s + g.length * (meanOf(g) - mean) ** 2, 0) / total;
}

/** @throws RewardError for scores or gradients that are not finite */
export function checkReward(reward: Reward, pictures: readonly Picture[], options: CheckOptions = {}): Promise<RewardCheck> {
  return releasedOnFailure(async (resources) => {
    const { compile = {}, steps = 16, onPhase = () => {} } = options;
    const scorer = resources.use(openScorer(reward, { compile }));
    const score = async (images: readonly HostTensor[], own: readonly string[]): Promise<number[]> => [...await scorer.score(stacked(images), own)];
    const prompts = pictures.map((p) => p.prompt);
    onPhase(`scoring ${pictures.length} pictures`);
    const scores = await score(pictures.map((p) => p.image), prompts);

    const some = spread(pictures.length, DISTURBED);
    const chosen = some.map((i) => pictures[i]!);
    const [own, before] = [chosen.map((p) => p.prompt), some.map((i) => scores[i]!)];
    const distinct = [...new Set(own)];
    onPhase('scoring them with other prompts, and disturbed');
    const others = distinct.length < 2 ? null
      : await score(chosen.map((p) => p.image), own.map((p) => distinct[(distinct.indexOf(p) + 1) % distinct.length]!));
    const changes = others?.map((v, i) => v - before[i]!);
    const otherPrompt = changes ? { mean: meanOf(changes), size: Math.sqrt(meanOf(changes.map((c) => c * c))) } : null;
    const disturbed: Disturbed[] = [];
    for (const { name, what, apply } of DISTURBANCES) {
      const images: HostTensor[] = [];
      for (const [item, { image }] of chosen.entries()) images.push(await apply(image, item));
      const after = await score(images, own);
      disturbed.push({ name, what, change: pairedDifference(before, after), rank: spearman(before, after), example: images[0]!, score: after[0]! });
    }

    let gradient: RewardCheck['gradient'] = null;
    const hacked: Hacked[] = [];
    if (reward.differentiable) {
      onPhase('checking its gradient');
      const shown = spread(pictures.length, CLIMBED);
      const climbed = shown.map((i) => pictures[i]!);
      const [images, asked] = [stacked(climbed.map((p) => p.image)), climbed.map((p) => p.prompt)];
      const climber = resources.use(await openGradient(reward, images.shape as [number, 3, number, number], compile));
      const slopes = await checkSlopes(climber, inward(images), asked);
      gradient = { slopes, error: slopeError(slopes), shown };
      for (const levels of REACHES) {
        onPhase(`following it by ${levels} levels of 255`);
        const reach = levels / 255;
        const climb = await ascend(climber, images, asked, reach, steps);
        const signs = normal({ seed: 0, stream: 'reward check chance', step: 0 }, 0, images.data.length);
        const random = host(Float32Array.from(images.data as Float32Array, (v, i) => Math.min(1, Math.max(0, v + reach * Math.sign(signs[i]!)))), images.shape);
        hacked.push({
          reach, scores: climb.scores, byChance: meanOf(await score(unstacked(random), asked)),
          before: unstacked(images), after: unstacked(climb.images),
        });
      }
    }
    await resources.release();
    return {
      name: reward.name, description: reward.description, pictures, scores, mean: meanOf(scores), deviation: deviation(scores),
      betweenPrompts: betweenPrompts(scores, prompts), otherPrompt, disturbed, gradient, hacked,
    };
  });
}

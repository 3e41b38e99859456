/** @file A reward's gradient by the pixels at work: does it tell the slope, and how far does following it lead? */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { normal } from '../../random/random.js';
import type { GradientScorer } from '../../rewards/gradient.js';
import { takeRows } from '../../rewards/rows.js';
import { meanOf } from '../evaluation.js';

/** Of one picture, along one direction. */
export interface Slope {
  /** Index of the picture. */
  readonly image: number;
  readonly along: 'the gradient' | 'a random direction';
  /** What the gradient says: reward a pixel value's root mean square. */
  readonly told: number;
  /** Central difference. */
  readonly found: number;
}

/** Steps of the central differences as root mean square of the pixels; the one that fits best counts, since rounding spoils small ones and curvature large ones. */
const STEPS = [0.0003, 0.001, 0.003, 0.01];

type Numbers = Float32Array;
const rms = (v: Numbers): number => Math.sqrt(v.reduce((s, x) => s + x * x, 0) / v.length);
const dot = (a: Numbers, b: Numbers): number => a.reduce((s, x, i) => s + x * b[i]!, 0);

/** Away from black and white, where pixels cannot go both ways. */
export const inward = (images: HostTensor): HostTensor => host(Float32Array.from(images.data as Numbers, (v) => 0.05 + 0.9 * v), images.shape);

/** @param images float32 [B, 3, H, W] of the scorer's shape, in [0.05, 0.95] */
export async function checkSlopes(scorer: GradientScorer, images: HostTensor, prompts: readonly string[]): Promise<Slope[]> {
  const [batch, ...shape] = images.shape as [number, ...number[]];
  const size = shape.reduce((a, b) => a * b, 1);
  const { gradient } = await scorer.run(images, prompts);
  const own = Array.from({ length: batch }, (_, i) => takeRows(gradient, i, 1).data as Numbers);
  const random = Array.from({ length: batch }, (_, i) => normal({ seed: 0, stream: 'reward check slopes', step: 0 }, i, size));
  const slopes: Slope[] = [];
  for (const along of ['the gradient', 'a random direction'] as const) {
    const directions = (along === 'the gradient' ? own : random).map((v) => {
      const length = rms(v);
      return length === 0 ? v : v.map((x) => x / length);
    });
    const told = directions.map((d, i) => dot(d, own[i]!));
    const best = told.map(() => Infinity);
    const found = told.map(() => 0);
    for (const step of STEPS) {
      const moved = async (sign: number): Promise<Numbers> => (await scorer.run(host(Float32Array.from(
        images.data as Numbers, (v, k) => v + sign * step * directions[Math.floor(k / size)]![k % size]!,
      ), images.shape), prompts)).score;
      const [up, down] = [await moved(1), await moved(-1)];
      for (let i = 0; i < batch; i++) {
        const slope = (up[i]! - down[i]!) / (2 * step);
        if (Math.abs(slope - told[i]!) < best[i]!) [best[i], found[i]] = [Math.abs(slope - told[i]!), slope];
      }
    }
    slopes.push(...told.map((t, image) => ({ image, along, told: t, found: found[image]! })));
  }
  return slopes;
}

/** Largest error of the slopes along the gradient, as a share of the largest slope there. */
export function slopeError(slopes: readonly Slope[]): number {
  const along = slopes.filter((s) => s.along === 'the gradient');
  const largest = Math.max(...along.map((s) => Math.abs(s.told)));
  const error = Math.max(...along.map((s) => Math.abs(s.found - s.told)));
  return largest === 0 ? (error === 0 ? 0 : Infinity) : error / largest;
}

export interface Ascent {
  /** Mean score before, and after each step. */
  readonly scores: readonly number[];
  /** float32 [B, 3, H, W] */
  readonly images: HostTensor;
}

/**
 * Follows the sign of the gradient with no pixel value farther than `reach` from its own (projected gradient ascent, Madry
 * et al. 2018): what a method could gain without changing the picture for the eye.
 */
export async function ascend(scorer: GradientScorer, images: HostTensor, prompts: readonly string[], reach: number, steps: number): Promise<Ascent> {
  const from = images.data as Numbers;
  const step = (2.5 * reach) / steps;
  const scores: number[] = [];
  let x = images;
  let best = { mean: -Infinity, images };
  for (let k = 0; k <= steps; k++) {
    const { score, gradient } = await scorer.run(x, prompts);
    const mean = meanOf([...score]);
    scores.push(mean);
    if (mean > best.mean) best = { mean, images: x };
    const g = gradient.data as Numbers;
    x = host((x.data as Numbers).map((v, i) => {
      const moved = Math.min(from[i]! + reach, Math.max(from[i]! - reach, v + step * Math.sign(g[i]!)));
      return Math.min(1, Math.max(0, moved));
    }), images.shape);
  }
  return { scores, images: best.images };
}

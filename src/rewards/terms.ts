/** @file What a reward's score adds to a sum, as a number and in a graph: by fixed numbers, or by ones that come to be known later. */
import { scalarHost } from '../graph/dtype.js';
import { add, maximum, minimum, mul, sub } from '../graph/ops/arithmetic.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import type { Feeds } from '../runtime/compile.js';

export interface Term {
  /** What stands before the reward's name in the sum's description: "0.5 · ", say. */
  readonly text: string;
  /** What it adds for a score, now. */
  value(score: number): number;
  /** The same in a graph: [B] → [B]. */
  trace(score: Tensor): Tensor;
  /** Values of the inputs that the trace reads. */
  feeds(): Feeds;
}

const shown = (x: number): string => String(Number(x.toPrecision(4)));
const factor = (weight: number): string => (weight === 1 ? '' : `${shown(weight)} · `);

/** weight · (r − mean) / std */
export function fixedTerm({ weight = 1, mean = 0, std = 1 }: { weight?: number | undefined; mean?: number | undefined; std?: number | undefined }): Term {
  const [scale, shift] = [weight / std, (-weight * mean) / std];
  return {
    text: `${shift === 0 ? '' : `${shown(shift)} + `}${factor(scale)}`,
    value: (score) => scale * score + shift,
    trace: (score) => add(mul(score, scale), shift),
    feeds: () => ({}),
  };
}

/** Numbers of this moment: slope · (r − offset). */
export interface Line {
  readonly offset: number;
  readonly slope: number;
}

/**
 * weight · (slope · (r − offset)), cut to [low, high] before it is weighted. The numbers come in through inputs of the
 * graph, so that a compiled one follows them.
 *
 * @param label names the inputs, so it must be the only one of that name
 */
export function movingTerm(
  label: string, text: string, now: () => Line, { weight = 1, low = -Infinity, high = Infinity }: { weight?: number; low?: number; high?: number } = {},
): Term {
  const [offset, slope] = [input(`${label}/offset`, []), input(`${label}/slope`, [])];
  return {
    text: `${factor(weight)}${text}`,
    value(score) {
      const line = now();
      return weight * Math.min(high, Math.max(low, line.slope * (score - line.offset)));
    },
    trace(score) {
      const straight = mul(sub(score, offset), slope);
      const below = Number.isFinite(high) ? minimum(straight, high) : straight;
      return mul(Number.isFinite(low) ? maximum(below, low) : below, weight);
    },
    feeds() {
      const line = now();
      return { [`${label}/offset`]: scalarHost(line.offset), [`${label}/slope`]: scalarHost(line.slope) };
    },
  };
}

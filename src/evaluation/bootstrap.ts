/** @file How sure a mean of few differences is: studentised bootstrap intervals (Efron & Tibshirani 1993, chapter 12). */
import { integers } from '../random/random.js';
import { deviation, meanOf } from './evaluation.js';

export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 2000;
const LEVEL = 0.95;
const errorOf = (values: readonly number[]): number => deviation(values) / Math.sqrt(values.length);

/**
 * The 95% interval of the mean that independent values (differences prompt by prompt, say) are drawn around. Always the same
 * for the same values.
 *
 * @returns null for fewer than 4 values or values that are all one
 */
export function bootstrapInterval(values: readonly number[]): Interval | null {
  const mean = meanOf(values);
  const error = values.length < 4 ? 0 : errorOf(values);
  if (error === 0) return null;
  const ratios: number[] = [];
  for (let b = 0; b < RESAMPLES; b++) {
    const drawn = Array.from(integers({ seed: 0, stream: 'bootstrap', step: b }, 0, values.length, values.length), (i) => values[i]!);
    const drawnError = errorOf(drawn);
    if (drawnError > 0) ratios.push((meanOf(drawn) - mean) / drawnError);
  }
  const sorted = Float64Array.from(ratios).sort();
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return { mean, low: mean - at((1 + LEVEL) / 2) * error, high: mean - at((1 - LEVEL) / 2) * error };
}

/**
 * @file Which training times a sampler visits: the spacings of Lin et al. 2024 (arXiv 2305.08891, Table 2), rounded as
 * NumPy rounds them in the reference samplers.
 */
import { halfToEven } from '../graph/half-to-even.js';
import { SamplingError } from './errors.js';
import type { SamplerOptions } from './plan.js';
import { trainingTimes } from './process.js';
import type { Process } from './process.js';

export type Spacing = NonNullable<SamplerOptions['spacing']>;

/** What is wrong with a plan that starts among nearly clean samples, where all sampling starts from noise; or null. */
export function lateStart(process: Process, first: number): string | null {
  const trained = trainingTimes(process);
  if (first >= trained / 2 - 1) return null;
  return `sampling begins at time ${first} of ${trained - 1}, where the model expects pictures almost without noise; ` +
    'with so few steps take --spacing trailing';
}

/**
 * `count` times from noisy to clean among 0 … trained−1.
 *
 * `leading`: multiples of ⌊trained/count⌋ plus `offset`; the noisiest time is left out. `trailing`: from trained−1 down
 * in equal strides, not reaching 0. `linspace`: from trained−1 to 0; these may lie between training times.
 *
 * @throws SamplingError if there are too few training times.
 */
function spaced(trained: number, count: number, spacing: Spacing, offset: number): number[] {
  const indices = Array.from({ length: count }, (_, i) => i);
  if (spacing === 'trailing') {
    // NumPy's arange takes the rounded difference of its first two values as the stride: it decides the halves. (Where
    // the division rounds up it goes on to time −1, as for 61 of 1000; that one is left out.)
    const stride = trained - trained / count - trained;
    return indices.map((i) => halfToEven(trained + i * stride) - 1);
  }
  if (spacing === 'linspace') {
    if (count < 2) throw new SamplingError('linspace spacing needs at least 2 steps; use trailing spacing for one');
    return indices.map((i) => ((trained - 1) / (count - 1)) * (count - 1 - i));
  }
  const stride = Math.floor(trained / count);
  const times = indices.map((i) => (count - 1 - i) * stride + offset);
  if (times[0]! >= trained) {
    throw new SamplingError(`${count} steps with leading spacing and offset ${offset} begin at time ${times[0]}, ` +
      `past the last training time ${trained - 1}; take fewer steps or another spacing`);
  }
  return times;
}

function check(trained: number, steps: number): void {
  if (!Number.isInteger(steps) || steps < 1 || steps > trained) {
    throw new SamplingError(`the number of sampling steps must be a whole number from 1 to ${trained}, not ${steps}`);
  }
}

/** Whole times for DDPM and DDIM. */
export function wholeTimesteps(trained: number, steps: number, spacing: Spacing, offset: number): number[] {
  check(trained, steps);
  return spaced(trained, steps, spacing, offset).map(halfToEven);
}

/** Times for the Euler samplers: those of linspace lie between training times, rounded to float32. */
export function fractionalTimesteps(trained: number, steps: number, spacing: Spacing, offset: number): number[] {
  check(trained, steps);
  return spaced(trained, steps, spacing, offset).map(Math.fround);
}

/** Whole times for DPM-Solver: linspace and leading leave out the last of steps + 1, where the solver arrives. */
export function solverTimesteps(trained: number, steps: number, spacing: Spacing, offset: number): number[] {
  if (spacing === 'trailing') return wholeTimesteps(trained, steps, spacing, offset);
  check(trained - 1, steps);
  return spaced(trained, steps + 1, spacing, offset).slice(0, -1).map(halfToEven);
}

/**
 * Times of consistency models: an even choice among the `original` that they were distilled on, from the noisiest.
 *
 * @throws SamplingError if there are fewer of those than steps
 */
export function distilledTimesteps(trained: number, steps: number, original: number): number[] {
  if (original > trained || !Number.isInteger(steps) || steps < 1 || steps > original) {
    throw new SamplingError(`a consistency model takes a whole number of steps from 1 to the ${original} of its ` +
      `distillation (at most ${trained}), not ${steps}`);
  }
  const stride = Math.floor(trained / original);
  return Array.from({ length: steps }, (_, i) => (original - Math.floor(i * (original / steps))) * stride - 1);
}

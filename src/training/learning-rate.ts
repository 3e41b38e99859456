/** @file Learning-rate schedules: step → factor on the base rate. */

export type LearningRateSchedule = 'constant' | 'cosine' | 'linear';

/**
 * The rate at `step` (from 0) of `total`: a linear warm-up over the first `warmup` steps, then constant, a half cosine
 * to zero, or a line to zero.
 */
export function learningRate(
  base: number,
  step: number,
  total: number,
  schedule: LearningRateSchedule = 'constant',
  warmup = 0,
): number {
  if (step < warmup) return (base * (step + 1)) / warmup;
  const done = Math.min(1, (step - warmup) / Math.max(1, total - warmup));
  if (schedule === 'cosine') return base * 0.5 * (1 + Math.cos(Math.PI * done));
  if (schedule === 'linear') return base * (1 - done);
  return base;
}

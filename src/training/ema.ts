/** @file Exponential moving average of parameters. */
import { values } from './parameters.js';
import type { Parameters } from './parameters.js';

/**
 * average ← decay·average + (1 − decay)·parameters, in place. The decay is warmed up as (1 + step)/(10 + step), so that
 * the average forgets the initial weights.
 */
export function updateEma(average: Parameters, parameters: Parameters, decay: number, step: number): void {
  const d = Math.min(decay, (1 + step) / (10 + step));
  for (const [name, a] of average) {
    const [x, y] = [values(a), values(parameters.get(name)!)];
    for (let i = 0; i < x.length; i++) x[i] = d * x[i]! + (1 - d) * y[i]!;
  }
}

/** @file Exponential moving average of parameters. */
import type { HostTensor } from '../graph/dtype.js';
import { mixInto } from '../methods/policy.js';
import type { Parameters } from './parameters.js';

/**
 * average ← decay·average + (1 − decay)·parameters. The decay is warmed up as (1 + step)/(10 + step), so that
 * the average forgets the initial weights.
 */
export function updateEma(average: Map<string, HostTensor>, parameters: Parameters, decay: number, step: number): void {
  mixInto(average, parameters, Math.min(decay, (1 + step) / (10 + step)));
}

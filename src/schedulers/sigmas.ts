/** @file Noise levels σ = √((1−ā)/ā), in which the Euler and DPM-Solver samplers reckon. */
import type { NoiseSchedule } from './noise-schedule.js';

// Where a zero-terminal-SNR schedule holds no signal, σ would be infinite; the reference samplers put 2⁻²⁴ there too.
const LEAST_ALPHA_BAR = 2 ** -24;

/** σ at a time, interpolated between training times. */
export function sigmaAt(schedule: NoiseSchedule, timestep: number): number {
  const sigma = (t: number): number => {
    const alphaBar = Math.max(schedule.alphasCumprod[t]!, LEAST_ALPHA_BAR);
    return Math.sqrt((1 - alphaBar) / alphaBar);
  };
  const below = Math.floor(timestep);
  const rest = timestep - below;
  return rest === 0 ? sigma(below) : sigma(below) * (1 - rest) + sigma(below + 1) * rest;
}

/** ā of a noise level. */
export const alphaBarOf = (sigma: number): number => 1 / (1 + sigma * sigma);

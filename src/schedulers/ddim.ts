/** @file DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16), with any η. */
import type { NoiseSchedule } from './noise-schedule.js';
import { cleanPrediction, makeStep } from './plan.js';
import type { Plan, SamplerOptions, Step } from './plan.js';
import { wholeTimesteps } from './timesteps.js';

/**
 * The step from `timestep` to `previous`; below 0 that is the end of the schedule.
 *
 * μ = √ā_p·x̂0 + √(1 − ā_p − σ²)·ε with σ² = η²·(1−ā_p)/(1−ā_t)·(1 − ā_t/ā_p). With `lastStep: 'ddpo'` p stops at 0, as
 * in DDPO's code (ddim_with_logprob.py).
 */
export function ddimStep(
  schedule: NoiseSchedule, timestep: number, previous: number, options: Pick<SamplerOptions, 'eta' | 'lastStep'> = {},
): Step {
  const { eta = 0, lastStep = 'diffusers' } = options;
  const { alphasCumprod, finalAlphaCumprod, predictionType } = schedule;
  const nextTimestep = Math.max(previous, 0);
  const alphaBar = alphasCumprod[timestep]!;
  const nextAlphaBar = previous >= 0 || lastStep === 'ddpo' ? alphasCumprod[nextTimestep]! : finalAlphaCumprod;
  const std = eta * Math.sqrt(((1 - nextAlphaBar) / (1 - alphaBar)) * (1 - alphaBar / nextAlphaBar));
  // ε is written as (x − √ā·x̂0)/√(1−ā). With η = 1 and ā = 0 rounding may take the root's argument below 0.
  const keep = Math.sqrt(Math.max(0, 1 - nextAlphaBar - std ** 2) / (1 - alphaBar));
  const clean = Math.sqrt(nextAlphaBar) - keep * Math.sqrt(alphaBar);
  const times = { timestep, nextTimestep, alphaBar, nextAlphaBar };
  return makeStep(times, cleanPrediction(predictionType, alphaBar), { keep, clean, std });
}

/** Steps of p = t − ⌊T/S⌋, which is not always the next time visited (diffusers does so too). */
export function ddim(schedule: NoiseSchedule, steps: number, options: SamplerOptions = {}): Plan {
  const { spacing = 'leading', stepsOffset = 0 } = options;
  const trained = schedule.alphasCumprod.length;
  const times = wholeTimesteps(trained, steps, spacing, stepsOffset);
  return { initialStd: 1, steps: times.map((t) => ddimStep(schedule, t, t - Math.floor(trained / steps), options)) };
}

/** @file DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16), with any η. */
import type { NoiseSchedule } from './noise-schedule.js';
import { cleanPrediction, makeStep } from './plan.js';
import type { Plan, SamplerOptions } from './plan.js';
import { wholeTimesteps } from './timesteps.js';

/**
 * μ = √ā_p·x̂0 + √(1 − ā_p − σ²)·ε with σ² = η²·(1−ā_p)/(1−ā_t)·(1 − ā_t/ā_p) and p = t − ⌊T/S⌋, which is not always
 * the next time visited (diffusers does so too). With `lastStep: 'ddpo'` p stops at 0, as in DDPO's code
 * (ddim_with_logprob.py).
 */
export function ddim(schedule: NoiseSchedule, steps: number, options: SamplerOptions = {}): Plan {
  const { spacing = 'leading', stepsOffset = 0, eta = 0, lastStep = 'diffusers' } = options;
  const { alphasCumprod, finalAlphaCumprod, predictionType } = schedule;
  const trained = alphasCumprod.length;
  const plan = wholeTimesteps(trained, steps, spacing, stepsOffset).map((timestep) => {
    const previous = timestep - Math.floor(trained / steps);
    const nextTimestep = Math.max(previous, 0);
    const alphaBar = alphasCumprod[timestep]!;
    const nextAlphaBar = previous >= 0 || lastStep === 'ddpo' ? alphasCumprod[nextTimestep]! : finalAlphaCumprod;
    const std = eta * Math.sqrt(((1 - nextAlphaBar) / (1 - alphaBar)) * (1 - alphaBar / nextAlphaBar));
    // ε is written as (x − √ā·x̂0)/√(1−ā). With η = 1 and ā = 0 rounding may take the root's argument below 0.
    const keep = Math.sqrt(Math.max(0, 1 - nextAlphaBar - std ** 2) / (1 - alphaBar));
    const clean = Math.sqrt(nextAlphaBar) - keep * Math.sqrt(alphaBar);
    const times = { timestep, nextTimestep, alphaBar, nextAlphaBar };
    return makeStep(times, cleanPrediction(predictionType, alphaBar), { keep, clean, std });
  });
  return { initialStd: 1, steps: plan };
}

/** @file DDPM ancestral sampling (Ho et al. 2020, arXiv 2006.11239, eq. 7), on any subset of the training times. */
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions } from './plan.js';
import { vpLevel, x0Prediction } from './process.js';
import type { VariancePreserving } from './process.js';
import { wholeTimesteps } from './timesteps.js';

/**
 * μ = √ā_p·β/(1−ā_t)·x̂0 + √(1−β)·(1−ā_p)/(1−ā_t)·x with β = 1 − ā_t/ā_p over the stride. The variance is that of the
 * posterior, β·(1−ā_p)/(1−ā_t), or β itself. The last step ends at ā = 1, with posterior variance 0.
 */
export function ddpm(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { spacing = 'leading', stepsOffset = 0, variance = 'small' } = options;
  const { alphasCumprod, predictionType } = schedule;
  const timesteps = wholeTimesteps(alphasCumprod.length, steps, spacing, stepsOffset);
  const plan = timesteps.map((timestep, i) => {
    const nextTimestep = timesteps[i + 1] ?? 0;
    const alphaBar = alphasCumprod[timestep]!;
    const nextAlphaBar = i + 1 < steps ? alphasCumprod[nextTimestep]! : 1;
    const beta = 1 - alphaBar / nextAlphaBar;
    const posterior = (1 - nextAlphaBar) / (1 - alphaBar);
    const std = timestep === 0 ? 0 : Math.sqrt(variance === 'small' ? beta * posterior : beta);
    const keep = Math.sqrt(1 - beta) * posterior;
    const clean = (Math.sqrt(nextAlphaBar) * beta) / (1 - alphaBar);
    const times = { timestep, nextTimestep, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) };
    return makeStep(times, x0Prediction(predictionType, times.from), { keep, clean, std });
  });
  return { initialStd: 1, steps: plan };
}

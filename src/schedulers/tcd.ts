/** @file Trajectory consistency distillation (Zheng et al. 2024, arXiv 2402.19159, Algorithm 4): sampling in a few steps. */
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions } from './plan.js';
import { vpLevel, x0Prediction } from './process.js';
import type { VariancePreserving } from './process.js';
import { distilledTimesteps } from './timesteps.js';

/**
 * A DDIM step to a time s = ⌊(1 − γ)·t'⌋ below the next one, and fresh noise from there up to t'; γ is `eta`. The last
 * step ends at ā_0, without noise. The times are a subset of those used in distillation.
 */
export function tcd(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { originalSteps = 50, eta = 0.3 } = options;
  const { alphasCumprod, predictionType } = schedule;
  const timesteps = distilledTimesteps(alphasCumprod.length, steps, originalSteps);
  const plan = timesteps.map((timestep, i) => {
    const nextTimestep = timesteps[i + 1] ?? 0;
    const below = Math.floor(Math.fround(Math.fround(1 - eta) * nextTimestep)); // in float32, as the reference
    const [alphaBar, nextAlphaBar] = [alphasCumprod[timestep]!, alphasCumprod[nextTimestep]!];
    const lowest = alphasCumprod[below]!;
    const rise = Math.sqrt(nextAlphaBar / lowest);
    // ε is written as (x − √ā·x̂0)/√(1−ā).
    const keep = Math.sqrt((1 - lowest) / (1 - alphaBar));
    const clean = Math.sqrt(lowest) - keep * Math.sqrt(alphaBar);
    const rule = { keep: rise * keep, clean: rise * clean, std: Math.sqrt(1 - rise ** 2) };
    return makeStep({ timestep, nextTimestep, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) }, x0Prediction(predictionType, vpLevel(alphaBar)), rule);
  });
  return { initialStd: 1, steps: plan };
}

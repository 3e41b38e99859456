/** @file Latent consistency models (Luo et al. 2023, arXiv 2310.04378): sampling in a few steps. */
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions } from './plan.js';
import { vpLevel, x0Prediction } from './process.js';
import type { VariancePreserving } from './process.js';
import { distilledTimesteps } from './timesteps.js';

/** Deviation of the data in the boundary condition (Consistency models, Song et al. 2023). */
const SIGMA_DATA = 0.5;

/**
 * Multistep consistency sampling: x' = √ā'·f(x, t) + √(1−ā')·z with f = c_skip·x + c_out·x̂0, where
 * c_skip = σ_d²/(s² + σ_d²), c_out = s/√(s² + σ_d²), s = timestepScaling·t; the result of the last step is f itself.
 * A plan's clean prediction is f. The times are a subset of those used in distillation. Guidance is an input of the
 * network, not a second call of it.
 */
export function lcm(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { originalSteps = 50, timestepScaling = 10 } = options;
  const { alphasCumprod, predictionType } = schedule;
  const timesteps = distilledTimesteps(alphasCumprod.length, steps, originalSteps);
  const plan = timesteps.map((timestep, i) => {
    const nextTimestep = timesteps[i + 1] ?? 0;
    const alphaBar = alphasCumprod[timestep]!;
    const nextAlphaBar = i + 1 < steps ? alphasCumprod[nextTimestep]! : 1;
    const scaled = timestep * timestepScaling;
    const skip = SIGMA_DATA ** 2 / (scaled ** 2 + SIGMA_DATA ** 2);
    const out = scaled / Math.hypot(scaled, SIGMA_DATA);
    const { x0FromX, x0FromOutput } = x0Prediction(predictionType, vpLevel(alphaBar));
    const consistency = { x0FromX: skip + out * x0FromX, x0FromOutput: out * x0FromOutput };
    const rule = { keep: 0, clean: Math.sqrt(nextAlphaBar), std: Math.sqrt(1 - nextAlphaBar) };
    return makeStep({ timestep, nextTimestep, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) }, consistency, rule);
  });
  return { initialStd: 1, steps: plan };
}

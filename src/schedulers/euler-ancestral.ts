/** @file Euler's method with ancestral noise (k-diffusion's `sample_euler_ancestral`, η = 1). */
import { eulerPlan } from './euler.js';
import type { VariancePreserving } from './process.js';
import type { Plan, SamplerOptions } from './plan.js';

/** σ_up² = σ'²·(σ² − σ'²)/σ² is the variance of the DDPM posterior; an Euler step leads to σ_down² = σ'² − σ_up². */
export function eulerAncestral(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { spacing, stepsOffset } = options;
  return eulerPlan(schedule, steps, { spacing, stepsOffset }, (from, to) => {
    const up = (to / from) * Math.sqrt(from ** 2 - to ** 2);
    return { down: to ** 2 / from, up };
  });
}

/** @file Euler's method on the probability-flow ODE (Karras et al. 2022, arXiv 2206.00364), and its ancestral form. */
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions } from './plan.js';
import { alphaBarOf, vpLevel, x0Prediction } from './process.js';
import type { NoiseLevel, VariancePreserving } from './process.js';
import { fractionalLevels } from './sigmas.js';

/** The level an Euler step goes down to, and the noise that then leads up to the next level; both in units of σ. */
type Split = (from: number, to: number) => { down: number; up: number };

/** As diffusers: the first sample is pure noise of the first level, unless `leading` left the noisiest times out. */
export const eulerStart = ({ spacing }: SamplerOptions, { noise }: NoiseLevel): number =>
  spacing === 'leading' ? 1 : noise;

/** Plans Euler steps: x/√ā moves on a straight line from x̂0 until its noise is `down`. */
export function eulerPlan(schedule: VariancePreserving, steps: number, options: SamplerOptions, split: Split): Plan {
  const { timesteps, sigmas } = fractionalLevels(schedule, steps, options);
  const plan = timesteps.map((timestep, i) => {
    const [from, to] = [sigmas[i]!, sigmas[i + 1]!];
    const [alphaBar, nextAlphaBar] = [alphaBarOf(from), alphaBarOf(to)];
    const { down, up } = split(from, to);
    const times = { timestep, nextTimestep: timesteps[i + 1] ?? 0, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) };
    return makeStep(times, x0Prediction(schedule.predictionType, times.from), {
      keep: Math.sqrt(nextAlphaBar / alphaBar) * (down / from),
      clean: Math.sqrt(nextAlphaBar) * (1 - down / from),
      std: Math.sqrt(nextAlphaBar) * up,
    });
  });
  return { initialStd: eulerStart(options, plan[0]!.from), steps: plan };
}

/** Deterministic: straight to the next level. */
export function euler(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  return eulerPlan(schedule, steps, options, (_from, to) => ({ down: to, up: 0 }));
}

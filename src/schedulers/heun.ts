/** @file Heun's method on the probability-flow ODE (Karras et al. 2022, arXiv 2206.00364, Algorithm 1 without churn). */
import { eulerStart } from './euler.js';
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions, Step } from './plan.js';
import { alphaBarOf, vpLevel, x0Prediction } from './process.js';
import type { VariancePreserving } from './process.js';
import { fractionalLevels } from './sigmas.js';

/**
 * Each step but the last, which is Euler's, calls the network twice: from σ to σ', and there again, to go from where it
 * began with the mean of both slopes: 2·steps − 1 calls. With X = x/√ā and the slope d = (X − x̂0)/σ, it is
 * X'' = X + (σ' − σ)·(d + d')/2.
 */
export function heun(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { timesteps, sigmas } = fractionalLevels(schedule, steps, { ...options, finalSigma: 'zero' });
  const plan = timesteps.flatMap((timestep, i): Step[] => {
    const [from, to] = [sigmas[i]!, sigmas[i + 1]!];
    const [alphaBar, nextAlphaBar] = [alphaBarOf(from), alphaBarOf(to)];
    const signal = Math.sqrt(nextAlphaBar);
    const nextTimestep = timesteps[i + 1] ?? 0;
    const euler = makeStep(
      { timestep, nextTimestep, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) }, x0Prediction(schedule.predictionType, vpLevel(alphaBar)),
      { keep: (signal / Math.sqrt(alphaBar)) * (to / from), clean: signal * (1 - to / from) },
    );
    if (i + 1 === timesteps.length) return [euler];
    const half = (to - from) / 2;
    const corrected = makeStep(
      { timestep: nextTimestep, nextTimestep, from: vpLevel(nextAlphaBar), to: vpLevel(nextAlphaBar) },
      x0Prediction(schedule.predictionType, vpLevel(nextAlphaBar)),
      {
        keep: half / to,
        clean: (-signal * half) / to,
        past: [{ x: (signal / Math.sqrt(alphaBar)) * (1 + half / from), clean: (-signal * half) / from }],
      },
    );
    return [euler, corrected];
  });
  return { initialStd: eulerStart(options, plan[0]!.from), steps: plan };
}

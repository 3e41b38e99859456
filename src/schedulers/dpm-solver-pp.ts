/**
 * @file DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), multistep of order 1 or 2 with the midpoint rule: the ODE
 * solver, and the SDE solver whose steps have a density.
 */
import type { NoiseSchedule } from './noise-schedule.js';
import { cleanPrediction, makeStep } from './plan.js';
import type { Plan, Rule, SamplerOptions } from './plan.js';
import { alphaBarOf, sigmaAt } from './sigmas.js';
import { solverTimesteps } from './timesteps.js';

/** With fewer steps than this the last one is of first order, for stability (diffusers' `lower_order_final`). */
const FEW_STEPS = 15;

function solverPlan(schedule: NoiseSchedule, steps: number, options: SamplerOptions, stochastic: boolean): Plan {
  const { spacing = 'linspace', stepsOffset = 0, order = 2, finalSigma = 'zero' } = options;
  const timesteps = solverTimesteps(schedule.alphasCumprod.length, steps, spacing, stepsOffset);
  const last = finalSigma === 'min' ? sigmaAt(schedule, 0) : 0;
  const sigmas = [...timesteps.map((t) => sigmaAt(schedule, t)), last];
  const plan = timesteps.map((timestep, i) => {
    const [from, to] = [sigmas[i]!, sigmas[i + 1]!];
    const [alphaBar, nextAlphaBar] = [alphaBarOf(from), alphaBarOf(to)];
    const steady = i + 1 === steps && (finalSigma === 'zero' || steps < FEW_STEPS);
    // h = λ' − λ with λ = log(√ā/√(1−ā)) = −log σ, so e^{−h} = σ'/σ.
    const shrink = to / from;
    const gain = Math.sqrt(nextAlphaBar) * (1 - (stochastic ? shrink ** 2 : shrink));
    // D1/2 = (x̂0 − x̂0 of the step before)·h/(2·h of the step before).
    const slope = order === 2 && i > 0 && !steady ? Math.log(from / to) / (2 * Math.log(sigmas[i - 1]! / from)) : 0;
    const rule: Rule = {
      keep: Math.sqrt((1 - nextAlphaBar) / (1 - alphaBar)) * (stochastic ? shrink : 1),
      clean: gain * (1 + slope),
      previousClean: -gain * slope,
      std: stochastic ? Math.sqrt((1 - nextAlphaBar) * (1 - shrink ** 2)) : 0,
    };
    const times = { timestep, nextTimestep: timesteps[i + 1] ?? 0, alphaBar, nextAlphaBar };
    return makeStep(times, cleanPrediction(schedule.predictionType, alphaBar), rule);
  });
  return { initialStd: 1, steps: plan };
}

/** dpmsolver++: x' = (σ'/σ)·x + α'·(1 − e^{−h})·D, D = x̂0 extrapolated by half a step. */
export function dpmSolver(schedule: NoiseSchedule, steps: number, options: SamplerOptions = {}): Plan {
  return solverPlan(schedule, steps, options, false);
}

/**
 * sde-dpmsolver++: x' = (σ'/σ)·e^{−h}·x + α'·(1 − e^{−2h})·D + σ'·√(1 − e^{−2h})·z. For a density in the last step as
 * well, `finalSigma` must be `min`.
 */
export function dpmSolverSde(schedule: NoiseSchedule, steps: number, options: SamplerOptions = {}): Plan {
  return solverPlan(schedule, steps, options, true);
}

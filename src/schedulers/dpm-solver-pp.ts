/**
 * @file DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095): multistep of order 1 to 3, as ODE solver and as SDE solver whose
 * steps have a density.
 */
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions, Step } from './plan.js';
import { alphaBarOf, vpLevel, x0Prediction } from './process.js';
import type { VariancePreserving } from './process.js';
import { solverLevels } from './sigmas.js';
import type { Levels } from './sigmas.js';

/** With fewer steps than this the last ones are of lower order, for stability (diffusers' `lower_order_final`). */
const FEW_STEPS = 15;

/** Σ c_k·x̂0_k over this call (k = 0) and those before. */
export type Cleans = readonly number[];
export const weighted = (...terms: readonly (readonly [number, Cleans])[]): number[] =>
  Array.from({ length: Math.max(...terms.map(([, c]) => c.length)) }, (_, k) =>
    terms.reduce((sum, [factor, c]) => sum + factor * (c[k] ?? 0), 0));
/** (x̂0_a − x̂0_b)·factor */
export const difference = (a: number, b: number, factor: number): number[] =>
  Array.from({ length: Math.max(a, b) + 1 }, (_, k) => (k === a ? factor : k === b ? -factor : 0));

/**
 * Factors of x̂0 and of its first and second derivative in a step of −log σ by h, over √ā'. For the SDE h counts twice.
 * The published code has −½ instead of ½ in the SDE's third; kept, to sample as it does.
 */
export function factors(h: number, stochastic: boolean): { value: number; first: number; second: number } {
  const long = stochastic ? 2 * h : h;
  const value = -Math.expm1(-long);
  return { value, first: 1 - value / long, second: (value - long) / long ** 2 + (stochastic ? -0.5 : 0.5) };
}

/** Call i's step, from the level that the call `back` calls before it was made at. */
export function solverStep(
  { predictionType }: VariancePreserving, { timesteps, sigmas }: Levels, i: number, back: number, cleans: Cleans, stochastic: boolean,
): Step {
  const [base, to] = [sigmas[i - back]!, sigmas[i + 1]!];
  const [alphaBar, nextAlphaBar] = [alphaBarOf(sigmas[i]!), alphaBarOf(to)];
  const shrink = to / base; // e^{−h}
  const keep = Math.sqrt((1 - nextAlphaBar) / (1 - alphaBarOf(base))) * (stochastic ? shrink : 1);
  const [clean, ...past] = cleans.map((c) => c * Math.sqrt(nextAlphaBar));
  const times = { timestep: timesteps[i]!, nextTimestep: timesteps[i + 1] ?? 0, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) };
  return makeStep(times, x0Prediction(predictionType, times.from), {
    keep: back === 0 ? keep : 0,
    clean: clean!,
    past: past.map((c, k) => ({ x: k + 1 === back ? keep : 0, clean: c })),
    std: stochastic ? Math.sqrt((1 - nextAlphaBar) * (1 - shrink ** 2)) : 0,
  });
}

function multistep(schedule: VariancePreserving, steps: number, options: SamplerOptions, stochastic: boolean): Plan {
  const { order = 2, finalSigma = 'zero', solverType = 'midpoint', lowerOrderFinal = true, eulerAtFinal = false } = options;
  const levels = solverLevels(schedule, steps, options);
  const few = lowerOrderFinal && steps < FEW_STEPS;
  const h = levels.timesteps.map((_, i) => Math.log(levels.sigmas[i]! / levels.sigmas[i + 1]!)); // steps of −log σ
  const plan = levels.timesteps.map((_, i) => {
    const last = i + 1 === steps && (few || eulerAtFinal || finalSigma === 'zero');
    const most = Math.min(order, i + 1, last ? 1 : few && i + 2 === steps ? 2 : 3);
    const { value, first, second } = factors(h[i]!, stochastic);
    // Slopes by steps of h: D1 = (x̂0 − x̂0 of the step before)/r0, r0 = (h of the step before)/h.
    const [r0, r1] = [(h[i - 1] ?? NaN) / h[i]!, (h[i - 2] ?? NaN) / h[i]!];
    const slope = difference(0, 1, 1 / r0);
    const cleans = ((): Cleans => {
      if (most === 1) return [value];
      if (most === 2) return weighted([value, [1]], [solverType === 'heun' ? first : value / 2, slope]);
      const before = difference(1, 2, 1 / r1);
      const bend = weighted([1 / (r0 + r1), slope], [-1 / (r0 + r1), before]);
      return weighted([value, [1]], [first, weighted([1, slope], [r0, bend])], [second, bend]);
    })();
    return solverStep(schedule, levels, i, 0, cleans, stochastic);
  });
  return { initialStd: 1, steps: plan };
}

/** dpmsolver++: x' = (σ'/σ)·x + α'·(1 − e^{−h})·D, D = x̂0 extrapolated by half a step. */
export function dpmSolver(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  return multistep(schedule, steps, options, false);
}

/**
 * sde-dpmsolver++: x' = (σ'/σ)·e^{−h}·x + α'·(1 − e^{−2h})·D + σ'·√(1 − e^{−2h})·z. For a density in the last step as
 * well, `finalSigma` must be `min`.
 */
export function dpmSolverSde(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  return multistep(schedule, steps, options, true);
}

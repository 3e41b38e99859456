/** @file DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), singlestep: derivatives are taken inside a longer step. */
import { difference, factors, solverStep, weighted } from './dpm-solver-pp.js';
import type { Cleans } from './dpm-solver-pp.js';
import type { VariancePreserving } from './process.js';
import type { Plan, SamplerOptions } from './plan.js';
import { solverLevels } from './sigmas.js';

/**
 * Of each two (order 2, default) or three calls the first takes a step of first order, and the others go again from where
 * that began, further and with the derivatives known by then: a step a call. The times are always those of `linspace`.
 */
export function dpmSolverSingle(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { finalSigma = 'zero', solverType = 'midpoint', lowerOrderFinal = false } = options;
  const order = Math.min(options.order ?? 2, 3);
  const levels = solverLevels(schedule, steps, { ...options, spacing: 'linspace' });
  const { sigmas } = levels;
  const short = finalSigma === 'zero' || (lowerOrderFinal && steps % order === 0);
  const plan = levels.timesteps.map((_, i) => {
    const back = short && i + 1 === steps ? 0 : i % order; // calls since the step began
    const rise = (k: number): number => Math.log(sigmas[i - back]! / sigmas[k]!); // of −log σ since then
    const { value, first, second } = factors(rise(i + 1), false);
    const begin = Array.from({ length: back + 1 }, (_unused, k) => (k === back ? 1 : 0));
    const cleans = ((): Cleans => {
      if (back === 0) return [value];
      const r0 = rise(i) / rise(i + 1);
      const slope = difference(0, back, 1 / r0);
      if (back === 1) return weighted([value, begin], [solverType === 'heun' ? first : value / 2, slope]);
      if (solverType !== 'heun') return weighted([value, begin], [first, slope]);
      const r1 = rise(i - 1) / rise(i + 1);
      const inner = difference(1, 2, 1 / r1);
      const tangent = weighted([r0 / (r0 - r1), inner], [-r1 / (r0 - r1), slope]);
      const bend = weighted([2 / (r0 - r1), slope], [-2 / (r0 - r1), inner]);
      return weighted([value, begin], [first, tangent], [second, bend]);
    })();
    return solverStep(schedule, levels, i, back, cleans, false);
  });
  return { initialStd: 1, steps: plan };
}

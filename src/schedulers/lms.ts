/** @file Linear multistep (Adams–Bashforth) in σ on the probability-flow ODE, as k-diffusion's `sample_lms`. */
import { eulerStart } from './euler.js';
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions } from './plan.js';
import { alphaBarOf, vpLevel, x0Prediction } from './process.js';
import type { VariancePreserving } from './process.js';
import { fractionalLevels } from './sigmas.js';

/** ∫ of the Lagrange polynomial that is 1 at `nodes[k]` and 0 at the others; Simpson's rule is exact up to cubics. */
function lagrangeIntegral(nodes: readonly number[], k: number, from: number, to: number): number {
  const value = (sigma: number): number =>
    nodes.reduce((product, node, j) => (j === k ? product : (product * (sigma - node)) / (nodes[k]! - node)), 1);
  return ((to - from) / 6) * (value(from) + 4 * value((from + to) / 2) + value(to));
}

/** X' = X + Σ c_k·d_k over the slopes d = (X − x̂0)/σ, X = x/√ā, of this call and up to order − 1 before it. */
export function lms(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { timesteps, sigmas } = fractionalLevels(schedule, steps, { ...options, finalSigma: 'zero' });
  const { order = 4 } = options;
  const plan = timesteps.map((timestep, i) => {
    const [from, to] = [sigmas[i]!, sigmas[i + 1]!];
    const [alphaBar, nextAlphaBar] = [alphaBarOf(from), alphaBarOf(to)];
    const signal = Math.sqrt(nextAlphaBar);
    const nodes = sigmas.slice(Math.max(0, i + 1 - order), i + 1).toReversed();
    const [now, ...past] = nodes.map((sigma, k) => {
      const slope = lagrangeIntegral(nodes, k, from, to) / sigma;
      return { x: (signal / Math.sqrt(alphaBarOf(sigma))) * slope, clean: -signal * slope };
    });
    const times = { timestep, nextTimestep: timesteps[i + 1] ?? 0, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) };
    const rule = { keep: signal / Math.sqrt(alphaBar) + now!.x, clean: now!.clean, past };
    return makeStep(times, x0Prediction(schedule.predictionType, times.from), rule);
  });
  return { initialStd: eulerStart(options, plan[0]!.from), steps: plan };
}

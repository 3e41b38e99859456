/** @file DEIS (Zhang & Chen 2023, arXiv 2204.13902), multistep in log ρ (ρ = σ), as diffusers' `DEISMultistepScheduler`. */
import { makeStep } from './plan.js';
import type { Plan, SamplerOptions } from './plan.js';
import { alphaBarOf, vpLevel, x0Prediction } from './process.js';
import type { VariancePreserving } from './process.js';
import { solverLevels } from './sigmas.js';

/** With fewer steps than this the last two are of lower order, for stability (diffusers' `lower_order_final`). */
const FEW_STEPS = 15;

/** ∫ dσ of the polynomial in log σ that is 1 at `nodes[k]` and 0 at the one or two others. */
function logIntegral(nodes: readonly number[], k: number, from: number, to: number): number {
  const [node, others] = [Math.log(nodes[k]!), nodes.filter((_, j) => j !== k).map(Math.log)];
  const [b, c = null] = others;
  const primitive = (sigma: number): number => {
    const log = Math.log(sigma);
    if (b === undefined) return sigma;
    if (c === null) return (sigma * (log - b - 1)) / (node - b);
    return (sigma * ((log - b) * (log - c) - 2 * log + b + c + 2)) / ((node - b) * (node - c));
  };
  return primitive(to) - primitive(from);
}

/** x'/√ā' = x/√ā + Σ c_k·ε_k, with ε = (x − √ā·x̂0)/√(1−ā) of this call and up to order − 1 before it. Ends at ā_0. */
export function deis(schedule: VariancePreserving, steps: number, options: SamplerOptions = {}): Plan {
  const { order = 2, lowerOrderFinal = true } = options;
  const { timesteps, sigmas } = solverLevels(schedule, steps, { ...options, finalSigma: 'min' });
  const plan = timesteps.map((timestep, i) => {
    const [from, to] = [sigmas[i]!, sigmas[i + 1]!];
    const [alphaBar, nextAlphaBar] = [alphaBarOf(from), alphaBarOf(to)];
    const signal = Math.sqrt(nextAlphaBar);
    const most = lowerOrderFinal && steps < FEW_STEPS ? Math.min(order, steps - i) : order;
    const nodes = sigmas.slice(Math.max(0, i + 1 - most), i + 1).toReversed();
    const [now, ...past] = nodes.map((sigma, k) => {
      const share = (signal * logIntegral(nodes, k, from, to)) / Math.sqrt(1 - alphaBarOf(sigma));
      return { x: share, clean: -share * Math.sqrt(alphaBarOf(sigma)) };
    });
    const times = { timestep, nextTimestep: timesteps[i + 1] ?? 0, from: vpLevel(alphaBar), to: vpLevel(nextAlphaBar) };
    const rule = { keep: signal / Math.sqrt(alphaBar) + now!.x, clean: now!.clean, past };
    return makeStep(times, x0Prediction(schedule.predictionType, times.from), rule);
  });
  return { initialStd: 1, steps: plan };
}

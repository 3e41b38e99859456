/** @file The density of a stochastic step on graph tensors: log-probability and score of x' given x. */
import { stopGradient } from '../graph/grad.js';
import { div, log, mul, square, sub } from '../graph/ops/arithmetic.js';
import { flatten } from '../graph/ops/layout.js';
import { mean as average, sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { SamplingError } from './errors.js';
import type { Plan } from './plan.js';
import type { AnyStep } from './step.js';

/**
 * log N(x'; μ, σ²I) per item, [B], with x' held fixed: −(x' − μ)²/(2σ²) − log σ − log √(2π), averaged over an item's
 * elements as in DDPO's code (its clip range of 1e-4 presumes that), or summed: the true density. Differentiable in μ
 * (see `transitionMean`), and through it in x and in the network's output.
 *
 * @param next x' [B, …]
 * @param mean μ [B, …]
 * @param over what to do over an item's elements
 */
export function logProbability(step: AnyStep, next: Tensor, mean: Tensor, over: 'mean' | 'sum' = 'mean'): Tensor {
  const { std } = step;
  const logStd = typeof std === 'number' ? Math.log(std) : log(std);
  const squares = mul(square(div(sub(stopGradient(next), mean), std)), -0.5);
  const density = flatten(sub(sub(squares, logStd), 0.5 * Math.log(2 * Math.PI)));
  return (over === 'mean' ? average : sum)(density, { axes: [1] });
}

/** ∇_{x'} log N(x'; μ, σ²I) = (μ − x')/σ², in the shape of x'; differentiable in x' and μ. No mean is taken. */
export function score(step: AnyStep, next: Tensor, mean: Tensor): Tensor {
  const { std } = step;
  return div(sub(mean, next), typeof std === 'number' ? std ** 2 : square(std));
}

/**
 * The steps that add noise: only these have a density, and so can be learnt from by methods that take log-probabilities
 * or scores. A plan may mix them with deterministic ones, as flows do, which end without noise.
 *
 * @returns their indices, ascending
 * @throws SamplingError if there are none
 */
export function stochasticSteps({ steps }: Plan): number[] {
  const indices = steps.flatMap(({ std }, i) => (std === 0 ? [] : [i]));
  if (indices.length > 0) return indices;
  throw new SamplingError(`none of the ${steps.length} steps adds noise, so none has a log-probability; ` +
    'use ddim with eta above 0, ddpm, dpm++2m-sde or, for flow models, flow-sde');
}

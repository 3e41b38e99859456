/** @file Noise levels σ = √((1−ā)/ā), in which the Euler and DPM-Solver samplers reckon, and which of them are visited. */
import { halfToEven } from '../graph/half-to-even.js';
import { SamplingError } from './errors.js';
import type { SamplerOptions } from './plan.js';
import { sigmaAt } from './process.js';
import type { VariancePreserving } from './process.js';
import { fractionalTimesteps, solverTimesteps } from './timesteps.js';

/** The time of a noise level, interpolated in log σ between training times. */
function timeOf(logSigmas: readonly number[], sigma: number): number {
  const log = Math.log(Math.max(sigma, 1e-10));
  const last = logSigmas.findLastIndex((value) => value <= log);
  const low = Math.min(Math.max(last, 0), logSigmas.length - 2);
  const [from, to] = [logSigmas[low]!, logSigmas[low + 1]!];
  const share = Math.min(1, Math.max(0, (from - log) / (from - to)));
  return (1 - share) * low + share * (low + 1);
}

/** The quantile of Beta(a, a) for a share of probability. */
function betaQuantile(share: number, a: number): number {
  if (share > 0.5) return 1 - betaQuantile(1 - share, a);
  // ∫₀ˣ (t(1−t))^{a−1} dt by its power series, for x up to ½.
  const below = (x: number): number => {
    let [term, sum] = [1, 0];
    for (let n = 0; n < 60; n++) {
      sum += term / (a + n);
      term *= ((n + 1 - a) / (n + 1)) * x;
    }
    return x ** a * sum;
  };
  const wanted = share * 2 * below(0.5);
  let [low, high] = [0, 0.5];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (below(middle) < wanted) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

const KARRAS_RHO = 7;
const BETA = 0.6;

/** `steps` levels from `max` down to `min`. */
function spread(kind: Exclude<SamplerOptions['sigmas'], 'plain' | undefined>, steps: number, max: number, min: number): number[] {
  const ramp = Array.from({ length: steps }, (_, i) => i / Math.max(1, steps - 1));
  if (kind === 'karras') {
    const [from, to] = [max ** (1 / KARRAS_RHO), min ** (1 / KARRAS_RHO)];
    return ramp.map((share) => (from + share * (to - from)) ** KARRAS_RHO);
  }
  if (kind === 'beta') return ramp.map((share) => min + betaQuantile(1 - share, BETA) * (max - min));
  return ramp.map((share) => Math.exp(Math.log(max) + share * (Math.log(min) - Math.log(max))));
}

/** What a sampler in units of σ visits. */
export interface Levels {
  /** S times. */
  readonly timesteps: readonly number[];
  /** S + 1 levels, down to the one after the last step. */
  readonly sigmas: readonly number[];
}

function levels(schedule: VariancePreserving, steps: number, options: SamplerOptions, whole: boolean): Levels {
  const { spacing = 'linspace', stepsOffset = 0, sigmas: kind = 'plain', finalSigma = 'zero' } = options;
  const trained = schedule.alphasCumprod.length;
  const last = finalSigma === 'min' ? sigmaAt(schedule, 0) : 0;
  const times = (whole ? solverTimesteps : fractionalTimesteps)(trained, steps, spacing, stepsOffset);
  if (kind === 'plain') return { timesteps: times, sigmas: [...times.map((t) => sigmaAt(schedule, t)), last] };
  // Euler's kind spreads its levels between those of the first and last time; the solvers over all training times.
  const [first, end] = whole ? [trained - 1, 0] : [times[0]!, times.at(-1)!];
  const { sigmaMax = Math.fround(sigmaAt(schedule, first)), sigmaMin = Math.fround(sigmaAt(schedule, end)) } = options;
  if (!(sigmaMin < sigmaMax || steps === 1)) {
    throw new SamplingError(`noise levels from ${sigmaMax} down to ${sigmaMin} are no range; mend sigma_min and sigma_max`);
  }
  const sigmas = spread(kind, steps, sigmaMax, sigmaMin);
  const logSigmas = Array.from(schedule.alphasCumprod, (_, t) => Math.fround(Math.log(Math.fround(sigmaAt(schedule, t)))));
  const asTold = !whole ? Math.fround : kind === 'karras' || kind === 'lu' ? halfToEven : Math.floor;
  return { timesteps: sigmas.map((sigma) => asTold(timeOf(logSigmas, sigma))), sigmas: [...sigmas, last] };
}

/** For samplers that may tell the network a time between training times. */
export const fractionalLevels = (schedule: VariancePreserving, steps: number, options: SamplerOptions): Levels =>
  levels(schedule, steps, options, false);

/** For solvers that tell it whole times. */
export const solverLevels = (schedule: VariancePreserving, steps: number, options: SamplerOptions): Levels =>
  levels(schedule, steps, options, true);

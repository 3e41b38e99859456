/** @file Applies a planned step, to graph tensors (differentiable) and to host arrays alike. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { narrow, reshape } from '../graph/ops/layout.js';
import { input, Tensor } from '../graph/tensor.js';
import type { Operand } from '../graph/tensor.js';
import { combine } from './linear.js';
import type { Value } from './linear.js';
import { SamplingError } from './errors.js';
import { makeStep } from './plan.js';
import type { Plan, Step } from './plan.js';

/** A step for any value; host arrays take numbers only. */
export type AnyStep = Step<Operand>;

/** x̂0, in x's shape [B, C, H, W]. */
export function predictX0<V extends Value>(step: AnyStep, x: V, output: V): V {
  return combine([step.x0FromX, x], [step.x0FromOutput, output]);
}

/** The step that goes straight to the clean prediction: x' = x̂0. */
export function toX0(step: Step): Step {
  return { ...step, nextTimestep: 0, to: { signal: 1, noise: 0 }, meanFromX: step.x0FromX, meanFromOutput: step.x0FromOutput, past: [], std: 0 };
}

/** The step to the same level without noise: DDIM's with η = 0, or the ODE's of a flow. */
export function withoutNoise(step: Step): Step {
  const keep = step.to.noise / step.from.noise;
  return makeStep(step, step, { keep, clean: step.to.signal - keep * step.from.signal });
}

/** What a call of the network saw, and the clean prediction made of its answer. */
export interface Call<V> {
  readonly x: V;
  readonly clean: V;
}

/**
 * μ, the mean of x' given x, in x's shape.
 *
 * @param past the calls before, the latest first; may be left out when the plan is not multistep
 * @throws SamplingError if it is left out and the step needs it
 */
export function transitionMean<V extends Value>(step: AnyStep, x: V, output: V, past: readonly Call<V>[] = []): V {
  const shares = step.past ?? [];
  if (past.length < shares.length) {
    throw new SamplingError('this step goes on from earlier calls of the network: pass them on, or plan with order 1');
  }
  const terms = shares.flatMap((share, i): [Operand, V][] => [[share.x, past[i]!.x], [share.clean, past[i]!.clean]]);
  return combine([step.meanFromX, x], [step.meanFromOutput, output], ...terms);
}

/** What a step needs beside the sample and the output, as far as its plan uses it. */
export interface StepExtras<V> {
  /** The calls before, the latest first. */
  past?: readonly Call<V>[];
  /** Standard normal numbers, in x's shape. */
  noise?: V;
}

/**
 * x' = μ + σ·noise, in x's shape.
 *
 * @throws SamplingError if a step of numbers needs an extra that is missing
 */
export function takeStep<V extends Value>(step: AnyStep, x: V, output: V, extras: StepExtras<V> = {}): V {
  const { past, noise } = extras;
  const mean = transitionMean(step, x, output, past);
  if (noise) return combine([1, mean], [step.std, noise]);
  if (typeof step.std === 'number' && step.std !== 0) throw new SamplingError('this step needs noise, and got none');
  return mean;
}

/** How many earlier calls a plan's steps look back at; the caller must carry them on. */
export const reach = (plan: Plan): number => plan.steps.reduce((most, { past = [] }) => Math.max(most, past.length), 0);

/** Whether some step looks back at earlier calls. */
export const isMultistep = (plan: Plan): boolean => reach(plan) > 0;

const NUMBERS = 11;

/**
 * A one-step sampler's step as one graph input [batch, 11], so that one compiled graph serves every step and items of a batch may be at
 * different steps. `timestep` and `nextTimestep` come as [batch], all else as [batch, 1, …] of `rank` axes.
 */
export function stepInput(name: string, batch: number, rank = 4): Step<Tensor> {
  const packed = input(name, [batch, NUMBERS]);
  const column = (i: number, ones = rank - 1): Tensor =>
    reshape(narrow(packed, 1, i, i + 1), [batch, ...Array<number>(ones).fill(1)]);
  return {
    timestep: column(0, 0), nextTimestep: column(1, 0),
    from: { signal: column(2), noise: column(3) }, to: { signal: column(4), noise: column(5) },
    x0FromX: column(6), x0FromOutput: column(7), meanFromX: column(8), meanFromOutput: column(9), std: column(10),
  };
}

/** The numbers for `stepInput`: one step per item. */
export function stepFeed(steps: readonly Step[]): HostTensor {
  const rows = steps.flatMap((s) => [
    s.timestep, s.nextTimestep, s.from.signal, s.from.noise, s.to.signal, s.to.noise,
    s.x0FromX, s.x0FromOutput, s.meanFromX, s.meanFromOutput, s.std,
  ]);
  return host(Float32Array.from(rows), [steps.length, NUMBERS]);
}

/** @file Applies a planned step, to graph tensors (differentiable) and to host arrays alike. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { narrow, reshape } from '../graph/ops/layout.js';
import { input, Tensor } from '../graph/tensor.js';
import type { Operand } from '../graph/tensor.js';
import { combine } from './linear.js';
import type { Value } from './linear.js';
import { SamplingError } from './plan.js';
import type { Plan, Step } from './plan.js';

/** A step for any value; host arrays take numbers only. */
export type AnyStep = Step<Operand>;

/** x̂0, in x's shape [B, C, H, W]. */
export function predictClean<V extends Value>(step: AnyStep, x: V, output: V): V {
  return combine([step.cleanX, x], [step.cleanOut, output]);
}

/** The step that goes straight to the clean prediction: x' = x̂0. */
export function toClean(step: Step): Step {
  return { ...step, nextTimestep: 0, nextAlphaBar: 1, meanX: step.cleanX, meanOut: step.cleanOut, past: [], std: 0 };
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
  return combine([step.meanX, x], [step.meanOut, output], ...terms);
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

const FIELDS = [
  'timestep', 'nextTimestep', 'alphaBar', 'nextAlphaBar', 'cleanX', 'cleanOut', 'meanX', 'meanOut', 'std',
] as const satisfies readonly (keyof Step)[];

/**
 * A one-step sampler's step as one graph input [batch, 9], so that one compiled graph serves every step and items of a batch may be at
 * different steps. `timestep` and `nextTimestep` come as [batch], all else as [batch, 1, …] of `rank` axes.
 */
export function stepInput(name: string, batch: number, rank = 4): Step<Tensor> {
  const packed = input(name, [batch, FIELDS.length]);
  const column = (field: string, i: number): Tensor => {
    const ones = field.toLowerCase().endsWith('timestep') ? 0 : rank - 1;
    return reshape(narrow(packed, 1, i, i + 1), [batch, ...Array<number>(ones).fill(1)]);
  };
  return Object.fromEntries(FIELDS.map((field, i) => [field, column(field, i)])) as unknown as Step<Tensor>;
}

/** The numbers for `stepInput`: one step per item. */
export function stepFeed(steps: readonly Step[]): HostTensor {
  const rows = steps.flatMap((step) => FIELDS.map((field) => step[field]));
  return host(Float32Array.from(rows), [steps.length, FIELDS.length]);
}

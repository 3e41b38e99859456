/** @file The one sampling loop, on host arrays: from noise to samples, one network call a step of the plan. */
import { pause } from '../host/pause.js';
import { combine } from './linear.js';
import type { Plan, Step } from './plan.js';
import { predictX0, reach, takeStep } from './step.js';
import type { Call } from './step.js';

/** The network, guidance included: its output for a batch x [B × size] at a step. */
export type Denoise = (x: Float32Array, step: Step, index: number) => Promise<Float32Array> | Float32Array;

/**
 * `count` standard normal numbers for an item. Draw 0 is the first sample, draw i + 1 belongs to step i. They must
 * depend on (draw, item) alone: then an item does not depend on the batch it is made in.
 */
export type NoiseSource = (draw: number, item: number, count: number) => Float32Array;

/** A step that was taken from x. */
export interface SampledStep {
  readonly index: number;
  readonly step: Step;
  readonly x: Float32Array;
  /** The network's output at x. */
  readonly output: Float32Array;
  /** x̂0 */
  readonly clean: Float32Array;
  /** x', where the next step starts. */
  readonly next: Float32Array;
}

/** Called after each step. */
export type OnStep = (event: SampledStep) => void | Promise<void>;

export interface SampledRange {
  /** Number of the first step; 0 by default. */
  readonly start?: number;
  /** Number of the step that is not taken any more; the end of the plan by default. */
  readonly stop?: number;
}

/** Noise for a batch, [items × size]. */
export function drawNoise(noise: NoiseSource, draw: number, items: readonly number[], size: number): Float32Array {
  const batch = new Float32Array(items.length * size);
  items.forEach((item, i) => batch.set(noise(draw, item, size), i * size));
  return batch;
}

/**
 * Takes the steps of a plan from x on, one network call each. Signals and messages arrive between them.
 *
 * @param x samples at the first step [B × size]
 * @param noise z of a step, in x's shape; asked for where the step has noise
 */
export async function* sampleSteps(
  denoise: Denoise, plan: Plan, x: Float32Array, noise: (index: number) => Float32Array,
  { start = 0, stop = plan.steps.length }: SampledRange = {},
): AsyncGenerator<SampledStep> {
  const remembered = reach(plan);
  let at = x;
  let past: readonly Call<Float32Array>[] = [];
  for (let index = start; index < stop; index++) {
    const step = plan.steps[index]!;
    const output = await denoise(at, step, index);
    const clean = predictX0(step, at, output);
    const next: Float32Array = takeStep(step, at, output, { past, ...(step.std !== 0 && { noise: noise(index) }) });
    yield { index, step, x: at, output, clean, next };
    past = [{ x: at, clean }, ...past].slice(0, remembered);
    at = next;
    await pause();
  }
}

/**
 * Samples `items` together by a plan. Returns [items × size], row-major.
 *
 * @param items which items to make; the numbers are passed to `noise`
 * @param size numbers per item, C·H·W
 */
export async function sample(
  denoise: Denoise,
  plan: Plan,
  noise: NoiseSource,
  items: readonly number[],
  size: number,
  onStep?: OnStep,
): Promise<Float32Array> {
  let x = combine([plan.initialStd, drawNoise(noise, 0, items, size)]);
  for await (const taken of sampleSteps(denoise, plan, x, (index) => drawNoise(noise, index + 1, items, size))) {
    x = taken.next;
    await onStep?.(taken);
  }
  return x;
}

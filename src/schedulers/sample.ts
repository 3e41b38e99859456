/** @file The sampling loop on host arrays: from noise to samples, one network call a step of the plan. */
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

/** Called after each step, with the new sample and the clean prediction made on the way. */
export type OnStep = (event: {
  index: number;
  step: Step;
  x: Float32Array;
  clean: Float32Array;
}) => void | Promise<void>;

/** Noise for a batch, [items × size]. */
export function drawNoise(noise: NoiseSource, draw: number, items: readonly number[], size: number): Float32Array {
  const batch = new Float32Array(items.length * size);
  items.forEach((item, i) => batch.set(noise(draw, item, size), i * size));
  return batch;
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
  const remembered = reach(plan);
  let past: readonly Call<Float32Array>[] = [];
  for (const [index, step] of plan.steps.entries()) {
    const output = await denoise(x, step, index);
    const clean = predictX0(step, x, output);
    const fresh = step.std === 0 ? undefined : drawNoise(noise, index + 1, items, size);
    const next = takeStep(step, x, output, { past, noise: fresh });
    past = [{ x, clean }, ...past].slice(0, remembered);
    x = next;
    await onStep?.({ index, step, x, clean });
  }
  return x;
}

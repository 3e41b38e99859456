/** @file Single transitions x → x' out of whole trajectories: which are learnt from, and their numbers as a batch. */
import type { HostTensor } from '../graph/dtype.js';
import { permutation, uniform } from '../random/random.js';
import type { Key } from '../random/random.js';
import type { Step } from '../schedulers/plan.js';
import type { Trajectory } from './rollout.js';
import { sampleSize, samplesOf } from './task.js';
import type { Task } from './task.js';

/**
 * Which of `steps` transitions an item is trained on: the last one always, and `fraction` of those before it, one from
 * each of equal stretches (`stratified`) or anywhere (`random`), latest first. The published code draws its stretches
 * over the last transition too, so that it may come twice (train_nablagfn.py:502); here it comes once, and where `fraction`
 * of a short plan is none, one is drawn.
 */
export function chooseTransitions(
  steps: number, fraction: number, how: 'stratified' | 'random', key: Key, item: number,
): number[] {
  const earlier = steps - 1;
  const count = Math.min(earlier, fraction >= 1 ? earlier : Math.max(1, Math.floor(steps * fraction)));
  if (how === 'random') return [earlier, ...permutation(key, item, earlier).slice(0, count)];
  const draws = uniform(key, item, Math.max(1, count));
  const border = (i: number): number => Math.floor((i * earlier) / count);
  const strata = Array.from({ length: count }, (_, i) => border(i) + Math.floor(draws[i]! * (border(i + 1) - border(i))));
  return [earlier, ...strata.toReversed()];
}

/** The first `count` steps of a trajectory, and where they lead. */
export const upTo = ({ prompts, x, outputs, steps }: Trajectory, count: number): Trajectory =>
  ({ prompts, x: x.slice(0, count + 1), outputs: outputs.slice(0, count), steps: steps.slice(0, count) });

/** Item b of everything is about transition `indices[b]` of the trajectory. */
export interface Transition {
  readonly indices: readonly number[];
  readonly x: HostTensor; // [B, C, h, w]
  readonly next: HostTensor; // x'
  /** The network's output when the trajectory was sampled. */
  readonly output: HostTensor;
  readonly steps: readonly Step[];
  /** 1 where x' is the end of the trajectory, 0 elsewhere. */
  readonly last: readonly number[];
}

export function transitionAt(task: Task, { x, outputs, steps }: Trajectory, indices: readonly number[]): Transition {
  return {
    indices,
    x: pick(task, x, indices),
    next: pick(task, x, indices.map((i) => i + 1)),
    output: pick(task, outputs, indices),
    steps: indices.map((i) => steps[i]!),
    last: indices.map((i) => (i === steps.length - 1 ? 1 : 0)),
  };
}

/** Item b of the tensor `from[indices[b]]`, for all b. */
export function pick(task: Task, from: readonly HostTensor[], indices: readonly number[]): HostTensor {
  const size = sampleSize(task);
  const data = new Float32Array(indices.length * size);
  indices.forEach((i, b) => data.set((from[i]!.data as Float32Array).subarray(b * size, (b + 1) * size), b * size));
  return samplesOf(task, data);
}

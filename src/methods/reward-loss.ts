/** @file From rewards and their gradients to losses that are descended. */
import { meanOf } from '../evaluation/evaluation.js';
import type { HostTensor } from '../graph/dtype.js';
import { samplesOf, sampleSize } from './task.js';
import type { ScoredGradient, Task } from './task.js';

/** Scales each item's gradient by its own factor: the chain rule of a loss Σ f(r_i). */
export function perItem(task: Task, gradient: HostTensor, factor: (item: number) => number): HostTensor {
  const g = gradient.data as Float32Array;
  const size = sampleSize(task);
  const out = new Float32Array(g.length);
  for (let i = 0; i * size < g.length; i++) {
    const f = factor(i);
    for (let k = i * size; k < (i + 1) * size; k++) out[k] = f * g[k]!;
  }
  return samplesOf(task, out);
}

/** mean relu(ceiling − r) over the items, −mean r without a ceiling; and its gradient by what was scored. */
export function rewardLoss(task: Task, { score, gradient }: ScoredGradient, ceiling: number | null): { loss: number; gradient: HostTensor } {
  const losses = Array.from(score, (r) => (ceiling === null ? -r : Math.max(0, ceiling - r)));
  const slope = (i: number): number => (ceiling === null || score[i]! < ceiling ? -1 / score.length : 0);
  return { loss: meanOf(losses), gradient: perItem(task, gradient, slope) };
}

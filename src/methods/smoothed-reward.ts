/** @file The gradient of a smoothed reward: averaged over small perturbations of the samples. */
import { normal } from '../random/random.js';
import { combine } from '../schedulers/linear.js';
import { drawNoise } from '../schedulers/sample.js';
import { sampleSize, samplesOf } from './task.js';
import type { SampleReward, Task } from './task.js';

/**
 * E_z[r(x + σz)] and its gradient by x, z ~ N(0, I), estimated from `draws` perturbations of each sample; with one draw
 * r and ∇r themselves. What it returns is for one round: each call draws anew, the same in every run of that round.
 *
 * @param draws reward queries a sample and call
 * @param deviation σ
 */
export function smoothedGradient(
  task: Task, draws: number, deviation: number, round: number,
): SampleReward['gradient'] {
  if (draws === 1) return task.reward.gradient;
  let drawn = 0;
  return async (samples, prompts) => {
    const items = prompts.map((_, i) => i);
    const score = new Float32Array(items.length);
    const gradient = new Float32Array(samples.data.length);
    for (let k = 0; k < draws; k++) {
      const noise = drawNoise(
        (draw, item, count) => normal({ seed: task.seed, stream: `smoothing ${draw}`, step: round }, item, count),
        drawn++, items, sampleSize(task));
      const at = combine([1, samples.data as Float32Array], [deviation, noise]);
      const one = await task.reward.gradient(samplesOf(task, at), prompts);
      for (let i = 0; i < score.length; i++) score[i]! += one.score[i]! / draws;
      const g = one.gradient.data as Float32Array;
      for (let i = 0; i < g.length; i++) gradient[i]! += g[i]! / draws;
    }
    return { score, gradient: samplesOf(task, gradient) };
  };
}

/** @file DDPO's objective on transitions of stored trajectories: the likelihood of each step, weighed by its advantage. */
import { host } from '../graph/dtype.js';
import { stopGradient } from '../graph/grad.js';
import { clip, exp, maximum, mul, neg, sub } from '../graph/ops/arithmetic.js';
import { mean } from '../graph/ops/reduce.js';
import { stepFeed, transitionMean } from '../schedulers/step.js';
import { logProbability } from '../schedulers/transition.js';
import { openLoss } from './loss-graph.js';
import type { LossValue } from './loss-graph.js';
import { itemInput, sampleInput, stepsInput } from './task.js';
import type { Task } from './task.js';
import type { Transition } from './transitions.js';

export interface PolicyGradient {
  /** @param advantage [B]; `ratio` [B] comes back beside the loss */
  run(transition: Transition, advantage: Float32Array, prompts: readonly string[]): Promise<LossValue<'ratio'>>;
  release(): Promise<void>;
}

/**
 * −mean A·log p (`clipRange` null: eq. 4 of Black et al. 2024), or mean max(−A·ρ, −A·clip(ρ, 1 ± clipRange)) with the
 * ratio ρ of the likelihood now to that when the trajectory was sampled (eq. 5, clipped as in PPO). Log-probabilities are
 * means over an item's elements.
 */
export async function openPolicyGradient(task: Task, clipRange: number | null): Promise<PolicyGradient> {
  const [x, next, output] = [sampleInput(task, 'x'), sampleInput(task, 'next'), sampleInput(task, 'output')];
  const advantage = itemInput(task, 'advantage');
  const step = stepsInput(task, 'step');
  const now = logProbability(step, next, transitionMean(step, x, task.network(x, step, 'tuned')));
  const before = logProbability(step, next, transitionMean(step, x, output));
  const ratio = exp(sub(now, stopGradient(before)));
  const cost = neg(advantage);
  const loss = clipRange === null
    ? mul(cost, now)
    : maximum(mul(cost, ratio), mul(cost, clip(ratio, 1 - clipRange, 1 + clipRange)));
  const graph = await openLoss(task, mean(loss), { over: 'mean', extras: { ratio }, calls: task.callsPerSample });
  return {
    run: ({ x: at, next: to, output: was, steps }, weights, prompts) =>
      graph.run({ x: at, next: to, output: was, step: stepFeed(steps), advantage: host(weights, [weights.length]) }, prompts),
    release: () => graph.release(),
  };
}

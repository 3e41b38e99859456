/** @file Scores of the residual flow, carried back from the finished sample along the trajectory that led to it. */
import type { HostTensor } from '../graph/dtype.js';
import { vjp } from '../graph/grad.js';
import { pause } from '../host/pause.js';
import { stepFeed, transitionMean } from '../schedulers/step.js';
import { forItems } from './rollout.js';
import type { Trajectory } from './rollout.js';
import { sampleInput, stepsInput } from './task.js';
import type { Task } from './task.js';

export interface CarriedScores {
  /**
   * Samples of ∇ log F̃(x_i) for x_`from` … x_S, each [B, C, h, w], at the index of x_i; before `from` nothing.
   *
   * @param end ∇ log F̃(x_S) [B, C, h, w]
   */
  carry(trajectory: Trajectory, end: HostTensor, from: number): Promise<HostTensor[]>;
  release(): Promise<void>;
}

/**
 * Detailed balance summed over the rest of a trajectory is the balance of a sub-trajectory (Madan et al. 2023, arXiv
 * 2209.12782):
 *
 *     log F̃(x_i) + Σ_{j ≥ i} log P̃_F(x_{j+1}|x_j) = log F̃(x_S)
 *
 * Differentiated along a shift of x_i that the prior's means pass on, δx_{j+1} = (∂μ_ref/∂x_j)·δx_j, the terms of the
 * sum have mean 0 under the policy, so that the flow's score is a mean over trajectories of what is known at their end:
 *
 *     ∇ log F̃(x_i) = E[(∂μ_ref/∂x_i)ᵀ ⋯ (∂μ_ref/∂x_{S−1})ᵀ ∇ log F̃(x_S) | x_i]
 *
 * That is the lean adjoint of Domingo-Enrich et al. 2025 (arXiv 2409.08861) for a chain of S transitions.
 *
 * @param guided whether the prior's steps are guided, as in sampling
 */
export async function openCarriedScores(task: Task, { guided = true } = {}): Promise<CarriedScores> {
  const [x, cotangent, step] = [sampleInput(task, 'x'), sampleInput(task, 'cotangent'), stepsInput(task, 'step')];
  const mu = transitionMean(step, x, task.network(x, step, 'reference', { guided }));
  const executable = await task.compile({ pulled: vjp([mu], [x], [cotangent])[0]! }, { calls: guided ? task.callsPerSample : 1 });
  return {
    async carry({ x: samples, steps, prompts }, end, from) {
      const scores: HostTensor[] = [];
      scores[steps.length] = end;
      for (let i = steps.length - 1; i >= from; i--) {
        const feeds = { x: samples[i]!, cotangent: scores[i + 1]!, step: stepFeed(forItems(prompts.length, steps[i]!)) };
        scores[i] = (await executable.run(feeds, prompts)).pulled;
        await pause();
      }
      return scores;
    },
    release: () => executable.release(),
  };
}

/**
 * @file ∇ log R of a noisy sample, guessed from the clean sample that one network call predicts (the forward-looking
 * guess of ∇-DB).
 */
import type { HostTensor } from '../graph/dtype.js';
import { vjp } from '../graph/grad.js';
import { stepFeed } from '../schedulers/step.js';
import type { Step } from '../schedulers/plan.js';
import { perItem } from './reward-loss.js';
import { openRollouts } from './rollout.js';
import { sampleInput, samplesOf, sampleSize, stepsInput } from './task.js';
import type { SampleReward, Task, PolicyRole } from './task.js';

export interface RewardGuess {
  /**
   * ∇_x r(x̂0(x)), one step of the plan per item.
   *
   * @param reward r and its gradient
   * @param outputs the network's outputs at x if they are known
   */
  gradient(
    reward: SampleReward['gradient'], x: HostTensor, steps: readonly Step[], prompts: readonly string[], outputs?: HostTensor,
  ): Promise<HostTensor>;
  release(): Promise<void>;
}

/** Compiles the guess with the tuned network or the reference. */
export async function openRewardGuess(task: Task, which: PolicyRole): Promise<RewardGuess> {
  const [x, cotangent] = [sampleInput(task, 'x'), sampleInput(task, 'cotangent')];
  const output = task.network(x, stepsInput(task, 'step'), which);
  const jacobian = await task.compile({ pulled: vjp([output], [x], [cotangent])[0]! });
  const rollouts = await openRollouts(task, which);
  const size = sampleSize(task);

  return {
    async gradient(reward, at, steps, prompts, outputs) {
      const out = outputs ?? (await rollouts.predict(at, steps, prompts));
      const clean = perElement(at, out, (b) => [steps[b]!.x0FromX, steps[b]!.x0FromOutput], size);
      const { gradient } = await reward(samplesOf(task, clean), prompts);
      // x̂0 = x0FromX·x + x0FromOutput·ε(x): the gradient comes through both terms.
      const through = perItem(task, gradient, (b) => steps[b]!.x0FromOutput);
      const { pulled } = await jacobian.run({ x: at, step: stepFeed(steps), cotangent: through }, prompts);
      return samplesOf(task, perElement(gradient, pulled, (b) => [steps[b]!.x0FromX, 1], size));
    },
    async release() {
      await rollouts.release();
      await jacobian.release();
    },
  };
}

/** p·a + q·b with factors of its own for each item. */
function perElement(a: HostTensor, b: HostTensor, factors: (item: number) => [number, number], size: number): Float32Array {
  const [x, y] = [a.data as Float32Array, b.data as Float32Array];
  const out = new Float32Array(x.length);
  for (let item = 0; item * size < out.length; item++) {
    const [p, q] = factors(item);
    for (let i = item * size; i < (item + 1) * size; i++) out[i] = p * x[i]! + q * y[i]!;
  }
  return out;
}

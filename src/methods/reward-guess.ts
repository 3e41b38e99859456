/**
 * @file ∇ log R of a noisy sample, guessed from the clean sample that one network call predicts (the forward-looking
 * guess of ∇-DB), or taken at the end of the sample's own trajectory (RSM).
 */
import type { HostTensor } from '../graph/dtype.js';
import { vjp } from '../graph/grad.js';
import { input } from '../graph/tensor.js';
import { stepFeed, stepInput } from '../schedulers/step.js';
import type { Step } from '../schedulers/plan.js';
import { openRoller } from './rollout.js';
import { sampleSize, samplesOf } from './task.js';
import type { Task, Which } from './task.js';

export interface RewardGuess {
  /**
   * ∇_x r(x̂0(x)), one step of the plan per item; null for an item that is finished, whose x is x̂0.
   *
   * @param outputs the network's outputs at x if they are known
   */
  gradient(
    x: HostTensor, steps: readonly (Step | null)[], prompts: readonly string[], outputs?: HostTensor,
  ): Promise<{ gradient: HostTensor; score: Float32Array }>;
  release(): Promise<void>;
}

/** Compiles the guess with the tuned network or the reference. */
export async function openRewardGuess(task: Task, which: Which): Promise<RewardGuess> {
  const shape = [task.batch, ...task.sampleShape];
  const [x, cotangent] = [input('x', shape), input('cotangent', shape)];
  const output = task.network(x, stepInput('step', task.batch), which);
  const jacobian = await task.compile({ pulled: vjp([output], [x], [cotangent])[0]! });
  const roller = await openRoller(task, which);
  const size = sampleSize(task);
  /** A finished sample passes through as it is. */
  const stand = (steps: readonly (Step | null)[]): Step[] =>
    steps.map((step) => step ?? { ...task.plan.steps.at(-1)!, cleanX: 1, cleanOut: 0 });

  return {
    async gradient(at, given, prompts, outputs) {
      const steps = stand(given);
      const finished = given.every((step) => step === null);
      const out = finished ? at : (outputs ?? (await roller.predict(at, steps, prompts)));
      const clean = perElement(at, out, (b) => [steps[b]!.cleanX, steps[b]!.cleanOut], size);
      const { score, gradient } = await task.reward.gradient(samplesOf(task, clean), prompts);
      if (finished) return { gradient, score };
      // x̂0 = cleanX·x + cleanOut·ε(x): the gradient comes through both terms.
      const through = perElement(gradient, gradient, (b) => [0, steps[b]!.cleanOut], size);
      task.counts.denoiserCalls += task.batch * task.callsPerSample;
      const { pulled } = await jacobian.run({ x: at, step: stepFeed(steps), cotangent: samplesOf(task, through) }, prompts);
      const total = perElement(gradient, pulled, (b) => [steps[b]!.cleanX, 1], size);
      return { gradient: samplesOf(task, total), score };
    },
    async release() {
      await roller.release();
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

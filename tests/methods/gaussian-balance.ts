/** @file Where ∇-DB with a flow network ends on the Gaussian task, and training that goes there. */
import type { HostTensor } from '../../src/graph/dtype.js';
import type { UpdateRule } from '../../src/methods/method.js';
import type { Plan } from '../../src/schedulers/plan.js';
import { initAdamW, updateAdamW } from '../../src/training/adamw.js';
import { affineStep, finalMoments } from './gaussian-task.js';
import type { GaussianTask } from './gaussian-task.js';

/** a, b of the tuned network and of g_φ where all balances hold on average: F(x) = E[∂μ_ref/∂x · F(x') | x], solved from the clean end. */
export function balanced({ steps }: Plan, beta: number, M = 2) {
  const policy: { a: number; b: number }[] = [];
  const flow: { a: number; b: number }[] = [];
  const ends = steps.at(-1)!.to.signal ** 2;
  let [k1, k0] = [beta * ends, beta * ends * M]; // ∇ log F(x') = −k1·x' + k0
  for (const [i, step] of [...steps.entries()].toReversed()) {
    const { A, std } = affineStep(step, 0, 0);
    const scale = 1 + std ** 2 * k1;
    const [slope, shift] = [A / scale, (std ** 2 * k0) / scale];
    const [epsX, epsShift] = [(slope - step.meanFromX) / step.meanFromOutput, shift / step.meanFromOutput];
    policy[i] = { a: epsX - step.from.noise, b: epsShift };
    const [u, v] = [step.x0FromX + step.x0FromOutput * epsX, step.x0FromOutput * epsShift];
    const guess = { k1: beta * step.from.signal ** 2 * u * u, k0: beta * step.from.signal ** 2 * u * (M - v) };
    // The last transition trains no flow: the guess stands there.
    [k1, k0] = i === steps.length - 1 ? [guess.k1, guess.k0] : [A * k1 * slope, A * (k0 - k1 * shift)];
    flow[i] = { a: guess.k1 - k1, b: k0 - guess.k0 };
  }
  return { policy, flow, moments: finalMoments(steps.map((step, i) => affineStep(step, policy[i]!.a, policy[i]!.b))) };
}

export const PROMPTS = (task: GaussianTask): string[] => new Array<string>(task.batch).fill('');

/** Trains through the method's own rounds with AdamW, the learning rate falling to nothing; returns the last loss. */
export async function optimise(task: GaussianTask, rule: UpdateRule, rounds: number, lr: number): Promise<number> {
  const groups = [task.parameters, ...(rule.own ? [rule.own.parameters] : [])];
  let last = 0;
  const states = groups.map((g) => initAdamW(g));
  for (let round = 0; round < rounds; round++) {
    for await (const { gradients, loss } of rule.round(PROMPTS(task), round)) {
      last = loss;
      const rate = lr * Math.min(1, (2 * (rounds - round)) / rounds) ** 2;
      groups.forEach((group, i) => {
        const own = new Map([...group.keys()].map((name): [string, HostTensor] => [name, gradients.get(name)!]));
        updateAdamW(group, own, states[i]!, rate, { beta1: 0.9, beta2: 0.99, epsilon: 1e-12, weightDecay: 0 });
      });
    }
  }
  return last;
}

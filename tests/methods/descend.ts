/** @file Applies a method's updates as the trainer does, with AdamW. */
import type { Method, Update } from '../../src/methods/method.js';
import type { Task } from '../../src/methods/task.js';
import { initAdamW, updateAdamW } from '../../src/training/adamw.js';

/** Runs rounds of a method and applies each update before the next is asked for; returns all of them. */
export async function descend<O>(
  method: Method<O>, task: Task, options: unknown, { rounds, lr, prompts }: { rounds: number; lr: number; prompts: readonly string[] },
): Promise<Update[]> {
  const rule = await method.create(task, method.options.parse(options));
  const state = initAdamW(task.parameters);
  const updates: Update[] = [];
  for (let round = 0; round < rounds; round++) {
    for await (const update of rule.round(prompts, round)) {
      updates.push(update);
      updateAdamW(task.parameters, update.gradients, state, lr, { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 });
    }
  }
  await rule.release();
  return updates;
}

/** A task whose reward is a black box: a function of the true score. */
export function blackBox<T extends Task>(task: T, of: (score: number) => number = (r) => r): T {
  return {
    ...task,
    reward: {
      ...task.reward,
      differentiable: false,
      score: async (samples, prompts) => (await task.reward.score(samples, prompts)).map(of),
      gradient: () => Promise.reject(new Error('a black box has no gradient')),
      trace: () => {
        throw new Error('a black box cannot be traced');
      },
    },
  };
}

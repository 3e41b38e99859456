/** @file What a method spends through its task: a task that counts, around one that does not. */
import type { Task } from './task.js';

/** What was spent so far. */
export interface Counts {
  /** Images scored. */
  rewardQueries: number;
  /**
   * NFE: items that went forward through the network or one beside it (`Task.auxiliary`, though that is smaller);
   * classifier-free guidance counts twice, a backward pass not at all.
   */
  denoiserCalls: number;
}

/** The task, and what is spent through it from now on; who measures takes the task itself. */
export function counted<T extends Task>(task: T): { readonly task: T; readonly counts: Counts } {
  const counts: Counts = { rewardQueries: 0, denoiserCalls: 0 };
  const { reward } = task;
  const compile: Task['compile'] = async (outputs, facts) => {
    const executable = await task.compile(outputs, facts);
    return {
      async run(feeds, prompts) {
        const results = await executable.run(feeds, prompts);
        counts.denoiserCalls += prompts.length * (facts?.calls ?? 0);
        return results;
      },
      release: () => executable.release(),
    };
  };
  const queried = <R>(result: R, prompts: readonly string[]): R => {
    counts.rewardQueries += prompts.length;
    return result;
  };
  return {
    counts,
    task: {
      ...task,
      compile,
      reward: {
        ...reward,
        score: async (samples, prompts) => queried(await reward.score(samples, prompts), prompts),
        gradient: async (samples, prompts) => queried(await reward.gradient(samples, prompts), prompts),
        record: (scores, prompts) => queried(reward.record(scores, prompts), prompts),
      },
    },
  };
}

/** @file Two updates of DRaFT on the Gaussian by the core alone: the same in Node and in a browser. */
import { METHODS } from '../../src/core.js';
import type { Method } from '../../src/core.js';
import { gaussianTask } from '../methods/gaussian-task.js';

const LEARNING_RATE = 0.05;

export interface TwoUpdates {
  /** Mean reward of each update's samples. */
  readonly rewards: number[];
  readonly parameters: number[];
}

export async function twoUpdates(): Promise<TwoUpdates> {
  const task = await gaussianTask({ steps: 2, batch: 4, size: 3, eta: 0, seed: 5 });
  const draft = METHODS.find(({ name }) => name === 'draft') as unknown as Method<object>;
  const rule = await draft.create(task, draft.options.parse({ k: 'all' }));
  const rewards: number[] = [];
  for (let round = 0; round < 2; round++) {
    for await (const update of rule.round(['', '', '', ''], round)) {
      rewards.push(update.rewards.reduce((a, b) => a + b, 0) / update.rewards.length);
      for (const [name, gradient] of update.gradients) {
        const values = task.parameters.get(name)!.data as Float32Array;
        (gradient.data as Float32Array).forEach((g, i) => (values[i]! -= LEARNING_RATE * g));
      }
    }
  }
  await rule.release();
  return { rewards, parameters: [...task.parameters.values()].flatMap(({ data }) => [...(data as Float32Array)]) };
}

import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { dpo } from '../../src/methods/dpo.js';
import type { Task } from '../../src/methods/task.js';
import { normal, uniform } from '../../src/random/random.js';
import { blackBox, descend } from './descend.js';
import { gaussianTask, tunedMoments } from './gaussian-task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];

/** The loss of the first update as a function of the parameters; nothing else in it depends on them. */
const lossOf = (task: Task, options: object) => async (): Promise<number> => (await firstUpdate(dpo, task, options, PROMPTS)).loss;

function shift(task: Task, by: number): void {
  for (const [name, t] of task.parameters) {
    const noise = normal({ seed: 5, stream: name, step: 0 }, 0, t.data.length);
    (t.data as Float32Array).forEach((_, i, p) => (p[i]! += by * noise[i]!));
  }
}

const pairsOf = (prompts: readonly string[]): Task['data'] => ({
  pictures: () => Promise.reject(new Error('no pictures')),
  pairs: async () => ({
    prompts,
    samples: async (indices) => {
      const side = (stream: string) => host(Float32Array.from(indices.flatMap((i) =>
        [...normal({ seed: 7, stream, step: 0 }, i, 12)])), [indices.length, 3, 2, 2]);
      return { winners: side('winners'), losers: side('losers') };
    },
  }),
});

describe('Diffusion-DPO', () => {
  test('the loss is log 2 while the model is the reference', async () => {
    const { loss, metrics } = await firstUpdate(dpo, await tinyTask(), {}, PROMPTS);
    expect(loss).toBeCloseTo(Math.log(2), 4);
    expect(metrics!['implicitAccuracy']).toBeLessThanOrEqual(1);
  });

  test.each([['own samples', { beta: 10, samples: 3 }], ['given pairs', { beta: 10, pairs: 'x.csv' }]])(
    'its gradient on %s is that of the loss', async (_, options) => {
      const task = await tinyTask({ data: pairsOf(['a', 'b', 'some other']) });
      shift(task, 0.05);
      const { gradients } = await firstUpdate(dpo, task, options, PROMPTS);
      expect(await directionalError(task, gradients, lossOf(task, options), 3)).toBeLessThan(2e-3);
    },
  );

  test('pairs are drawn from the reference, or from the tuned model where that is asked for', async () => {
    const task = await tinyTask();
    const rewards = async (from: string) => [...(await firstUpdate(dpo, task, { from }, PROMPTS)).rewards];
    const before = [await rewards('reference'), await rewards('tuned')];
    expect(before[0]).toEqual(before[1]);
    shift(task, 0.1);
    expect(await rewards('reference')).toEqual(before[0]);
    expect(await rewards('tuned')).not.toEqual(before[0]);
  });

  test('an update of its own for each draw of times and noise, from the same pairs', async () => {
    const task = blackBox(await tinyTask());
    const all = await descend(dpo, task, { updates: 3, samples: 4 }, { rounds: 1, lr: 0, prompts: PROMPTS });
    expect(all).toHaveLength(3);
    expect(task.counts.rewardQueries).toBe(8);
    expect(all[0]!.gradients.get('w1')!.data).not.toEqual(all[1]!.gradients.get('w1')!.data);
  });

  test('a share of given pairs is trained without prompt', async () => {
    const run = async (prompts: string[], emptyPrompts: number) => {
      const task = await tinyTask({ data: pairsOf(prompts) });
      shift(task, 0.05);
      return (await firstUpdate(dpo, task, { pairs: 'x.csv', emptyPrompts, beta: 1 }, PROMPTS)).loss;
    };
    expect(await run(['a long prompt', 'another long prompt'], 1)).toBe(await run(['', ''], 0));
    expect(await run(['a long prompt', 'another long prompt'], 0)).not.toBe(await run(['', ''], 0));
  });

  test('ties teach nothing', async () => {
    const task = blackBox(await tinyTask(), () => 1);
    const { gradients, loss } = await firstUpdate(dpo, task, {}, PROMPTS);
    expect(loss).toBe(0);
    for (const g of gradients.values()) expect(g.data.every((v) => Number(v) === 0)).toBe(true);
  });
});

describe('Diffusion-DPO on a Gaussian', () => {
  const [batch, size, m] = [128, 2, 1];

  /** Pairs of N(0, I), the first preferred as Bradley and Terry would have it under the reward −½‖x − m‖². */
  const bradleyTerry: Task['data'] = {
    pictures: () => Promise.reject(new Error('no pictures')),
    pairs: async () => ({
      prompts: Array.from({ length: 4096 }, String),
      samples: async (indices) => {
        const [w, l]: [number[], number[]] = [[], []];
        for (const i of indices) {
          const [a, b] = [0, 1].map((k) => [...normal({ seed: 9, stream: `side ${k}`, step: 0 }, i, size)]) as [number[], number[]];
          const reward = (x: number[]): number => x.reduce((s, v) => s - 0.5 * (v - m) ** 2, 0);
          const first = uniform({ seed: 9, stream: 'preferred', step: 0 }, i, 1)[0]! < 1 / (1 + Math.exp(reward(b) - reward(a)));
          w.push(...(first ? a : b));
          l.push(...(first ? b : a));
        }
        const shape = [indices.length, 1, 1, size];
        return { winners: host(Float32Array.from(w), shape), losers: host(Float32Array.from(l), shape) };
      },
    }),
  };

  const meanAfter = async (options: object, rounds = 80): Promise<number> => {
    const task = { ...(await gaussianTask({ steps: 10, batch, size, mean: m, eta: 0 })), data: bradleyTerry };
    await descend(dpo, task, options, { rounds, lr: 0.02, prompts: new Array<string>(batch).fill('') });
    return tunedMoments(task).mean;
  };

  test('the mean moves to the preferred side, and less far the larger β is', async () => {
    const [loose, tight] = [await meanAfter({ pairs: 'x.csv', beta: 4 }), await meanAfter({ pairs: 'x.csv', beta: 40 })];
    expect(tight).toBeGreaterThan(0.02);
    expect(loose).toBeGreaterThan(1.5 * tight);
  });

  test('own samples ranked by the reward move it too', async () => {
    expect(await meanAfter({ beta: 20, samples: 4 }, 40)).toBeGreaterThan(0.1);
  });
});

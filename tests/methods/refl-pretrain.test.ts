import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { drawCorruption, openDenoisingLoss } from '../../src/methods/denoising-error.js';
import { refl } from '../../src/methods/refl.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { normal } from '../../src/random/random.js';
import { descend } from './descend.js';
import { firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];
const given = host(normal({ seed: 8, stream: 'pictures', step: 0 }, 0, 24), [2, 3, 2, 2]);
const data = {
  pictures: async () => ({ prompts: ['same', 'same'], samples: async () => given }),
  pairs: () => Promise.reject(new Error('no pairs')),
};

describe('ReFL with the pre-training loss', () => {
  test.each([['pictures', 'folder'], ['samples of the reference', null]])('summed: both gradients, from %s', async (_, pictures) => {
    const task = await tinyTask({ data, eta: 1 });
    const alone = await firstUpdate(refl, task, {}, PROMPTS);
    const both = await firstUpdate(refl, task, { pretrain: { pictures, weight: 0.5, update: 'summed' } }, PROMPTS);
    const clean = pictures ? given : (await (await openRollouts(task, 'reference', 'refl pictures')).rollout(PROMPTS, 0)).x.at(-1)!;
    const denoising = await openDenoisingLoss(task);
    const corruption = drawCorruption(task, task.batch, 'refl pretrain', 0);
    const anchor = await denoising.run(clean, corruption, pictures ? ['same', 'same'] : PROMPTS);
    expect(both.loss).toBeCloseTo(alone.loss + 0.5 * anchor.loss, 5);
    expect(both.metrics!['pretrainLoss']).toBeCloseTo(0.5 * anchor.loss, 5);
    const of = (gradients: ReadonlyMap<string, HostTensor>, name: string): Float32Array => gradients.get(name)!.data as Float32Array;
    for (const name of task.parameters.keys()) {
      of(both.gradients, name).forEach((v, i) =>
        expect(v).toBeCloseTo(of(alone.gradients, name)[i]! + 0.5 * of(anchor.gradients, name)[i]!, 4));
    }
  });

  test('sequential: an update for each loss, in turn', async () => {
    const task = await tinyTask({ data, eta: 1 });
    const updates = await descend(refl, task, { pretrain: { pictures: 'folder' } }, { rounds: 2, lr: 1e-3, prompts: PROMPTS });
    expect(updates.map((u) => 'pretrainLoss' in u.metrics!)).toEqual([false, true, false, true]);
    expect(updates[1]!.loss).toBe(updates[1]!.metrics!['pretrainLoss']);
  });
});

/** @file With accumulation a step is all its updates: gradient, reward, loss and the method's own scalars. */
import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { applyUpdate } from '../../src/training/apply-update.js';
import { resolveConfig } from '../../src/training/config.js';
import { freshState, restored, stored } from '../../src/training/train-state.js';
import type { Trained } from '../../src/training/train-state.js';

const parts = (accumulate: number): Trained => ({
  config: resolveConfig({ accumulate, clip: null }, []),
  task: { parameters: new Map([['w', host(new Float32Array([1, 1]), [2])]]), counts: { rewardQueries: 0, denoiserCalls: 0 } },
  stepper: {},
} as unknown as Trained);

const update = (gradient: number, rewards: number[], loss: number, metrics: Record<string, number>) =>
  ({ gradients: new Map([['w', host(new Float32Array([gradient, 0]), [2])]]), rewards: Float32Array.from(rewards), loss, metrics });

const UPDATES = [update(3, [1, 2, 3], 10, { gap: 1, once: 7 }), update(1, [8], 20, { gap: 4 }), update(5, [0, 0], 60, { gap: 1 })];
const MEANS = { step: 1, reward: 14 / 6, loss: 30, gradNorm: 3, gap: 2, once: 7 };

test('rewards count by the image, losses and scalars by the update, as its gradient does', () => {
  const trained = parts(3);
  const state = freshState(trained);
  expect(applyUpdate(trained, state, UPDATES[0]!)).toBeNull();
  expect(applyUpdate(trained, state, UPDATES[1]!)).toBeNull();
  expect(applyUpdate(trained, state, UPDATES[2]!)).toMatchObject(MEANS);
  // Nothing of it is left for the next.
  const [first, second, third] = [update(1, [5], 1, {}), update(1, [5], 1, {}), update(1, [5], 1, {})];
  expect([applyUpdate(trained, state, first), applyUpdate(trained, state, second)]).toEqual([null, null]);
  const next = applyUpdate(trained, state, third)!;
  expect(next).toMatchObject({ step: 2, reward: 5, loss: 1, gradNorm: 1 });
  expect(Object.keys(next)).not.toContain('gap');
});

test('a checkpoint between the updates of a step keeps what is known of it', () => {
  const trained = parts(3);
  const state = freshState(trained);
  applyUpdate(trained, state, UPDATES[0]!);
  applyUpdate(trained, state, UPDATES[1]!);
  const run = stored(trained, state);
  const again = parts(3);
  const resumed = restored(again, { ...run, values: JSON.parse(JSON.stringify(run.values)) as Record<string, unknown> });
  expect(applyUpdate(again, resumed, UPDATES[2]!)).toMatchObject(MEANS);
});

test('a step of a single update is that update', () => {
  const trained = parts(1);
  expect(applyUpdate(trained, freshState(trained), UPDATES[0]!)).toMatchObject({ step: 1, reward: 2, loss: 10, gap: 1, once: 7, gradNorm: 3 });
});

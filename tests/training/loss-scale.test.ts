/** @file With float16 a gradient that overflows skips its step and halves the loss scale; the scale grows again. */
import { expect, test } from 'vitest';
import { openPolicy } from '../../src/methods/policy.js';
import { host } from '../../src/graph/dtype.js';
import { applyUpdate } from '../../src/training/apply-update.js';
import { resolveConfig } from '../../src/training/config.js';
import { firstLossScale, nextLossScale } from '../../src/training/loss-scale.js';
import { freshState, restored, stored } from '../../src/training/train-state.js';
import type { Trained } from '../../src/training/train-state.js';

/** @param told the scales that the task is told; null for a task in float32 */
const parts = (told: number[] | null): Trained => ({
  config: resolveConfig({ clip: null }, []),
  task: {
    ...openPolicy(new Map([['w', host(new Float32Array([1, 1]), [2])]]), new Map()),
    ...(told && { setLossScale: (value: number) => void told.push(value) }),
  },
  counts: { rewardQueries: 0, denoiserCalls: 0 },
  rule: {}, objective: { state: () => null, needsBase: false },
} as unknown as Trained);

const update = (gradient: number) =>
  ({ gradients: new Map([['w', host(new Float32Array([gradient, 0]), [2])]]), rewards: new Float32Array([1]), loss: 1, metrics: {} });

test('the scale halves at an overflow, doubles after 100 updates without, and ends at 1', () => {
  let scale = firstLossScale();
  scale = nextLossScale(scale, false)!;
  expect(scale).toEqual({ scale: 2 ** 15, since: 0 });
  for (let i = 0; i < 99; i++) scale = nextLossScale(scale, true)!;
  expect(scale).toEqual({ scale: 2 ** 15, since: 99 });
  expect(nextLossScale(scale, false)).toEqual({ scale: 2 ** 14, since: 0 });
  expect(nextLossScale(scale, true)).toEqual({ scale: 2 ** 16, since: 0 });
  expect(nextLossScale({ scale: 1, since: 5 }, false)).toBeNull();
});

test('an overflow changes nothing but the scale; training goes on', () => {
  const told: number[] = [];
  const trained = parts(told);
  const state = freshState(trained);
  for (const overflow of [Infinity, NaN]) expect(applyUpdate(trained, state, update(overflow))).toBeNull();
  expect(told).toEqual([2 ** 16, 2 ** 15, 2 ** 14]);
  expect([...trained.task.parameters.get('w')!.data as Float32Array]).toEqual([1, 1]);
  expect(state).toMatchObject({ step: 0, optimizer: { step: 0 }, lossScale: { scale: 2 ** 14, since: 0 } });
  expect(applyUpdate(trained, state, update(3))).toMatchObject({ step: 1, reward: 1, gradNorm: 3, lossScale: 2 ** 14 });
  expect([...trained.task.parameters.get('w')!.data as Float32Array][0]).not.toBe(1);
});

test('a checkpoint keeps the scale', () => {
  const trained = parts([]);
  const state = freshState(trained);
  applyUpdate(trained, state, update(Infinity));
  applyUpdate(trained, state, update(1));
  const run = stored(trained, state);
  const told: number[] = [];
  const resumed = restored(parts(told), { ...run, values: JSON.parse(JSON.stringify(run.values)) as Record<string, unknown> });
  expect(resumed.lossScale).toEqual({ scale: 2 ** 15, since: 1 });
  expect(told).toEqual([2 ** 15]);
});

test('what is not finite without any scale ends the run, as always in float32', () => {
  const trained = parts([]);
  const state = freshState(trained);
  const never = (): void => {
    for (let i = 0; i < 20; i++) applyUpdate(trained, state, update(NaN));
  };
  expect(never).toThrow(/the gradient became NaN at step 1; lower --lr/);
  expect(state.lossScale!.scale).toBe(1);
  const plain = parts(null);
  expect(() => applyUpdate(plain, freshState(plain), update(NaN))).toThrow(/became NaN/);
  expect(applyUpdate(plain, freshState(plain), update(1))).not.toHaveProperty('lossScale');
});

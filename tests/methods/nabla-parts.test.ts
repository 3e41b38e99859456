/** @file Parts of ∇-DB by themselves: the guess of the reward's gradient, which transitions are drawn, what is called how often. */
import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { METHODS } from '../../src/methods/index.js';
import { nablaDb } from '../../src/methods/nabla-db.js';
import { openRewardGuess } from '../../src/methods/reward-guess.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { samplesOf } from '../../src/methods/task.js';
import { chooseTransitions } from '../../src/methods/transitions.js';
import { normal } from '../../src/random/random.js';
import { firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const SIZE = 12;
const prompts = ['a cat', 'a much longer prompt'];
const tiny = () => tinyTask({ eta: 1, lastStep: 'ddpo' });

describe('the guess of the reward', () => {
  test.each(['tuned', 'reference'] as const)('is the gradient of r(x̂0(x)) through the %s network, each item at its own step', async (which) => {
    const task = await tiny();
    for (const p of task.parameters.values()) (p.data as Float32Array).forEach((v, i, a) => (a[i] = v + 0.1 * Math.sin(i)));
    const [guess, rollouts] = [await openRewardGuess(task, which), await openRollouts(task, which)];
    const steps = [task.plan.steps[2]!, task.plan.steps[0]!];
    const x = normal({ seed: 3, stream: 'x', step: 0 }, 0, 2 * SIZE);
    /** The rewards of x̂0 where x is moved by `by` along `direction`. */
    async function rewards(by: number, direction: Float32Array): Promise<Float32Array> {
      const at = x.map((v, i) => v + by * direction[i]!);
      const out = (await rollouts.predict(samplesOf(task, at), steps, prompts)).data as Float32Array;
      const clean = at.map((v, i) => {
        const step = steps[Math.floor(i / SIZE)]!;
        return step.x0FromX * v + step.x0FromOutput * out[i]!;
      });
      return (await task.reward.gradient(samplesOf(task, clean), prompts)).score as Float32Array;
    }
    const gradient = async (outputs?: HostTensor) =>
      (await guess.gradient(task.reward.gradient, samplesOf(task, x), steps, prompts, outputs)).data as Float32Array;
    const found = await gradient();
    for (let trial = 0; trial < 3; trial++) {
      const direction = normal({ seed: 4, stream: 'direction', step: trial }, 0, 2 * SIZE);
      const [up, down] = [await rewards(1e-2, direction), await rewards(-1e-2, direction)];
      for (const item of [0, 1]) {
        const slope = (up[item]! - down[item]!) / 2e-2;
        const expected = found.subarray(item * SIZE, (item + 1) * SIZE).reduce((s, g, i) => s + g * direction[item * SIZE + i]!, 0);
        expect(Math.abs(slope - expected)).toBeLessThan(0.02 * (1 + Math.abs(expected)));
      }
    }
    expect(await gradient(await rollouts.predict(samplesOf(task, x), steps, prompts))).toEqual(found);
  });
});

describe('transitions', () => {
  const drawn = (fraction: number, how: 'stratified' | 'random'): number[][] =>
    Array.from({ length: 60 }, (_, item) => chooseTransitions(51, fraction, how, { seed: 1, stream: 's', step: 0 }, item));

  test('drawn anywhere are as many as those of the stretches, and may lie in one stretch', () => {
    const [anywhere, stretches] = [drawn(0.1, 'random'), drawn(0.1, 'stratified')];
    for (const list of [...anywhere, ...stretches]) {
      expect(list).toHaveLength(6);
      expect(new Set(list).size).toBe(6);
    }
    const crowded = (lists: number[][]): number =>
      lists.filter((list) => new Set(list.slice(1).map((i) => Math.floor(i / 10))).size < 5).length;
    expect(crowded(stretches)).toBe(0);
    expect(crowded(anywhere)).toBeGreaterThan(40);
  });

  test('of a stretch come from all of it', () => {
    const places = new Set(drawn(0.1, 'stratified').flatMap((list) => list.slice(1)));
    expect(places.size).toBeGreaterThan(45);
    expect(Math.max(...places)).toBe(49);
  });
});

describe('network calls and reward queries of an item', () => {
  test.each<[object, number, number]>([
    // Rollout and losses; the guess at x' of all transitions but the last takes what the rollout has predicted.
    [{ flow: false, path: 0 }, 4 + 4 * 2, 1 + 3],
    // The base model must be asked.
    [{ flow: false, path: 0, guess: 'base' }, 4 + 4 * 2 + 3, 1 + 3],
    // The reverse loss is of all transitions but the last too.
    [{ path: 0 }, 4 + 4 * 4, 1 + 2 * 3],
    [{ path: 0, reverse: 0 }, 4 + 4 * 3, 1 + 3],
    // Scores are carried back over every step.
    [{}, 4 + 4 * 4 + 4, 1 + 2 * 3],
  ])('%o', async (given, calls, queries) => {
    const task = await tinyTask({ steps: 4, eta: 1, lastStep: 'ddpo' });
    await firstUpdate(nablaDb, task, { fraction: 1, ...given }, prompts);
    expect([task.counts.denoiserCalls / 2, task.counts.rewardQueries / 2]).toEqual([calls, queries]);
  });
});

test('nothing is kept for the next round unless it is asked for', async () => {
  const rule = await nablaDb.create(await tiny(), nablaDb.options.parse({ beta: 1, flow: false }));
  for await (const _ of rule.round(prompts, 0)) expect(rule.memory!.size).toBe(0);
  expect(rule.memory!.size).toBe(0);
});

test('what a method needs of reward and sampler', () => {
  const needing = (what: 'differentiableReward' | 'density'): string[] => METHODS.filter((m) => m.needs[what]).map((m) => m.name);
  expect(needing('differentiableReward')).toEqual(['draft', 'draft-lv', 'refl', 'alignprop', 'drtune', 'flowbp-sparse', 'srpo', 'nabla-db', 'rsm', 'adjoint-matching']);
  expect(needing('density')).toEqual(['nabla-db', 'rsm', 'adjoint-matching', 'ddpo', 'grpo', 'd3po']);
});

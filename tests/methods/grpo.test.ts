import { describe, expect, test } from 'vitest';
import { groupAdvantages } from '../../src/methods/advantage.js';
import { grpo } from '../../src/methods/grpo.js';
import { openPolicyGradient } from '../../src/methods/policy-gradient.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { sampleSize } from '../../src/methods/task.js';
import type { Task } from '../../src/methods/task.js';
import { transitionAt } from '../../src/methods/transitions.js';
import { normal } from '../../src/random/random.js';
import { samplers } from '../../src/schedulers/index.js';
import { transitionMean, withoutNoise } from '../../src/schedulers/step.js';
import { blackBox, descend } from './descend.js';
import { flowTask, sampledMoments } from './flow-task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];
const stochastic = { steps: 4, eta: 1, lastStep: 'ddpo' as const };

describe('advantages in a group', () => {
  const prompts = ['a', 'b', 'a', 'b', 'a'];
  const rewards = [1, 10, 2, 10, 6];

  test('are against the mean of the prompt\'s own samples', () => {
    const mean = 29 / 5;
    const all = Math.sqrt(rewards.reduce((s, r) => s + (r - mean) ** 2, 0) / 5);
    const found = { round: all, group: Math.sqrt(14 / 3), unbiased: Math.sqrt(7) };
    for (const [by, deviation] of Object.entries(found) as [keyof typeof found, number][]) {
      const a = groupAdvantages(rewards, prompts, by, 5);
      expect(a[0]! * deviation).toBeCloseTo(-2, 3);
      expect(a[4]! * deviation).toBeCloseTo(3, 3);
      expect([a[1], a[3]]).toEqual([0, 0]); // equal rewards teach nothing
    }
  });

  test('are limited', () => expect(groupAdvantages([0, 0, 0, 9], ['a', 'a', 'a', 'a'], 'group', 1)[3]).toBe(1));
});

describe('GRPO', () => {
  test('before the first update the importance ratio is exactly 1, after it not', async () => {
    const [first, second] = await descend(grpo, await tinyTask(stochastic), { group: 4 }, { rounds: 1, lr: 1e-3, prompts: PROMPTS });
    expect(first!.metrics).toMatchObject({ ratioError: 0, clipped: 0 });
    expect(second!.metrics!['clipped']).toBeGreaterThan(0);
    expect(second!.metrics!['pull']).toBeGreaterThan(0);
    expect(first!.rewards).toHaveLength(4);
  });

  test('black boxes do; costs a rollout of the group and each step twice, once without a pull', async () => {
    for (const [kl, perStep] of [[0.01, 2], [0, 1]] as const) {
      const task = blackBox(await tinyTask(stochastic));
      const all = await descend(grpo, task, { group: 4, updates: 1, kl }, { rounds: 1, lr: 1e-4, prompts: PROMPTS });
      expect(all).toHaveLength(1);
      expect(task.counts).toEqual({ rewardQueries: 8, denoiserCalls: 2 * 4 * (4 + 4 * perStep) });
    }
  });

  test('a group is shared out evenly', () => expect(grpo.options.safeParse({ group: 5, updates: 2 }).error?.message).toMatch(/evenly/));

  test('with the same noise all samples of a prompt start from one', async () => {
    const task = await tinyTask({ ...stochastic, steps: 2 });
    const starts: number[] = [];
    const watched: Task = { ...task, reward: { ...task.reward, score: async (x, prompts) => (starts.push(Number(x.data[0])), task.reward.score(x, prompts)) } };
    await firstUpdate(grpo, watched, { group: 2, sameNoise: true, window: { size: 1, schedule: 'progressive' } }, PROMPTS);
    const [one, other] = starts;
    const free: number[] = [];
    const unwatched: Task = { ...task, reward: { ...task.reward, score: async (x, prompts) => (free.push(Number(x.data[0])), task.reward.score(x, prompts)) } };
    await firstUpdate(grpo, unwatched, { group: 2, window: { size: 1, schedule: 'progressive' } }, PROMPTS);
    expect(one).toBe(free[0]);
    expect(other).not.toBe(free[1]);
  });
});

describe('a window of stochastic steps', () => {
  test('without noise a step is that of the ODE', async () => {
    const noisy = await tinyTask(stochastic);
    const calm = await tinyTask({ ...stochastic, eta: 0 });
    noisy.plan.steps.map(withoutNoise).forEach((step, i) => {
      const expected = calm.plan.steps[i]!;
      expect(step.std).toBe(0);
      for (const name of ['meanFromX', 'meanFromOutput', 'timestep', 'nextTimestep'] as const) expect(step[name]).toBeCloseTo(expected[name], 12);
    });
    const { process } = await flowTask({});
    const sde = samplers['flow-sde'].plan(process, 5, { shift: 3 }).steps;
    samplers['flow-euler'].plan(process, 5, { shift: 3 }).steps.forEach((step, i) => {
      expect(withoutNoise(sde[i]!).meanFromOutput).toBeCloseTo(step.meanFromOutput, 12);
    });
  });

  test('moves on and returns; steps outside have neither noise nor gradient', async () => {
    const task = await flowTask({ options: { shift: 3, eta: 1 }, steps: 5, batch: 4, size: 2 });
    const rule = await grpo.create(task, grpo.options.parse({ group: 2, updates: 1, kl: 0, window: { size: 2, schedule: 'progressive', every: 2 } }));
    const windows: number[][] = [];
    for (let round = 0; round < 8; round++) {
      for await (const { gradients } of rule.round(['', '', '', ''], round)) {
        windows.push([...(gradients.get('b')!.data as Float32Array)].flatMap((g, i) => (g === 0 ? [] : [i])));
      }
    }
    expect(windows).toEqual([[0, 1], [0, 1], [1, 2], [1, 2], [2, 3], [2, 3], [0, 1], [0, 1]]); // the last step adds no noise
    await rule.release();
  });
});

describe('the objective', () => {
  async function moved() {
    const task = await tinyTask(stochastic);
    const rollouts = await openRollouts(task);
    const t = transitionAt(task, await rollouts.rollout(PROMPTS, 0), [1, 2]);
    for (const [name, p] of task.parameters) (p.data as Float32Array).forEach((v, i, a) => (a[i] = v + 0.05 * normal({ seed: 6, stream: name, step: 0 }, 0, i + 1)[i]!));
    const reference = await openRollouts(task, 'reference');
    const [now, base] = [await rollouts.predict(t.x, t.steps, PROMPTS), await reference.predict(t.x, t.steps, PROMPTS)];
    const size = sampleSize(task);
    const item = (b: number, of: (k: number) => number): number => Array.from({ length: size }, (_, k) => of(b * size + k)).reduce((s, v) => s + v, 0) / size;
    return { task, t, now: now.data as Float32Array, base: base.data as Float32Array, item, size };
  }

  test('Guard\'s log ratio is the mean of z·δ', async () => {
    const { task, t, now, item, size } = await moved();
    const objective = await openPolicyGradient(task, { clip: 10, ratio: 'guard' });
    const { extras } = await objective.run(t, Float32Array.of(1, -1), PROMPTS);
    for (const b of [0, 1]) {
      const step = t.steps[b]!;
      const row = (x: ArrayLike<number>): Float32Array => Float32Array.from(Array.from(x).slice(b * size, (b + 1) * size));
      const [mu, before] = [transitionMean(step, row(t.x.data as Float32Array), row(now)), transitionMean(step, row(t.x.data as Float32Array), row(t.output.data as Float32Array))];
      const expected = item(0, (k) => ((Number(t.next.data[b * size + k]) - before[k]!) / step.std) * (mu[k]! - before[k]!));
      expect(Math.log(Number(extras.ratio.data[b]))).toBeCloseTo(expected, 5);
      expect(Math.abs(expected)).toBeGreaterThan(1e-3);
    }
  });

  test.each(['output', 'transition'] as const)('the pull by %s is what it is said to be', async (kind) => {
    const { task, t, now, base, item } = await moved();
    const objective = await openPolicyGradient(task, { clip: 10, pull: { weight: 3, kind } });
    const { loss, extras } = await objective.run(t, Float32Array.of(0, 0), PROMPTS);
    const expected = [0, 1].map((b) => {
      const { meanFromOutput, std } = t.steps[b]!;
      return item(b, (k) => (now[k]! - base[k]!) ** 2) * (kind === 'output' ? 1 : (meanFromOutput / std) ** 2 / 2);
    });
    expect(Number(extras.pull.data[0]) / ((expected[0]! + expected[1]!) / 2)).toBeCloseTo(1, 4);
    expect(loss / (3 * Number(extras.pull.data[0]))).toBeCloseTo(1, 5);
  });

  test.each(['plain', 'guard'] as const)('the gradient with a pull and the %s ratio is that of the loss', async (ratio) => {
    const { task, t } = await moved();
    const objective = await openPolicyGradient(task, { clip: 10, ratio, pull: { weight: 2, kind: 'output' } });
    const run = () => objective.run(t, Float32Array.of(1, -2), PROMPTS);
    expect(await directionalError(task, (await run()).gradients, async () => (await run()).loss, 4, 5e-3)).toBeLessThan(5e-3);
  });
});

test.each([
  ['all steps', {}, 0.05], ['a window, Guard\'s ratio', { ratio: 'guard', window: { size: 3 } }, 0.2], // early steps move samples less
])('on a flow it raises the reward: %s', async (_, options, lr) => {
  const task = await flowTask({ options: { shift: 3, eta: 1 }, batch: 32, size: 4, steps: 6 });
  const before = sampledMoments(task).mean;
  await descend(grpo, task, { group: 4, updates: 1, clip: 0.2, ...options }, { rounds: 30, lr, prompts: new Array<string>(32).fill('') });
  expect(before).toBeCloseTo(0, 6);
  expect(sampledMoments(task).mean).toBeGreaterThan(0.2);
}, 60_000);

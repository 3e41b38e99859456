import { describe, expect, test } from 'vitest';
import { alignprop } from '../../src/methods/alignprop.js';
import { draftLv } from '../../src/methods/draft-lv.js';
import { draft } from '../../src/methods/draft.js';
import { drtune, trainedSteps } from '../../src/methods/drtune.js';
import { refl } from '../../src/methods/refl.js';
import { openRoller } from '../../src/methods/rollout.js';
import type { Task } from '../../src/methods/task.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];

/** −mean reward of full samples: what DRaFT descends. */
async function sampledLoss(task: Task): Promise<() => Promise<number>> {
  const roller = await openRoller(task);
  return async () => {
    const { x } = await roller.rollout(PROMPTS, 0);
    const scores = await task.reward.score(x.at(-1)!, PROMPTS);
    return -(scores[0]! + scores[1]!) / 2;
  };
}

const norm = (gradients: ReadonlyMap<string, { data: ArrayLike<number | bigint> }>): number =>
  Math.sqrt([...gradients.values()].reduce((s, g) => s + Array.from(g.data, Number).reduce((a, v) => a + v * v, 0), 0));

describe('DRaFT', () => {
  test.each([1, 2, 3])('its gradient through %i steps, all there are, is that of the sampled reward', async (steps) => {
    const task = await tinyTask({ steps });
    const { gradients } = await firstUpdate(draft, task, { k: 'all' }, PROMPTS);
    expect(await directionalError(task, gradients, await sampledLoss(task))).toBeLessThan(2e-3);
  });

  test('DRaFT-K with K = the number of steps is DRaFT', async () => {
    const task = await tinyTask({ steps: 3 });
    const all = await firstUpdate(draft, task, { k: 'all' }, PROMPTS);
    const k = await firstUpdate(draft, task, { k: 3 }, PROMPTS);
    for (const [name, g] of all.gradients) expect(k.gradients.get(name)!.data).toEqual(g.data);
  });

  test.each([1, 2])('K = %i of 4 is the gradient with the sample before the last K steps held fixed', async (k) => {
    const task = await tinyTask({ steps: 4 });
    const { gradients } = await firstUpdate(draft, task, { k }, PROMPTS);
    const roller = await openRoller(task);
    const held = (await roller.rollout(PROMPTS, 0, { stop: 4 - k })).x.at(-1)!;
    const loss = async (): Promise<number> => {
      let x = held;
      for (const step of task.plan.steps.slice(4 - k)) {
        const output = (await roller.predict(x, step, PROMPTS)).data as Float32Array;
        const data = (x.data as Float32Array).map((v, i) => step.meanX * v + step.meanOut * output[i]!);
        x = { ...x, data };
      }
      const s = await task.reward.score(x, PROMPTS);
      return -(s[0]! + s[1]!) / 2;
    };
    expect(await directionalError(task, gradients, loss)).toBeLessThan(2e-3);
    const full = await firstUpdate(draft, task, { k: 'all' }, PROMPTS);
    expect(full.gradients.get('w1')!.data).not.toEqual(gradients.get('w1')!.data);
    expect(full.loss).toBe((await firstUpdate(draft, task, { k }, PROMPTS)).loss);
  });

  test('reward queries and network calls are counted', async () => {
    const task = await tinyTask({ steps: 4 });
    await firstUpdate(draft, task, { k: 2 }, PROMPTS);
    expect(task.counts).toEqual({ rewardQueries: 2, denoiserCalls: 8 });
  });
});

describe('DRaFT-LV', () => {
  test('without re-noising noise and with its own gradient alone it would be DRaFT-1', async () => {
    const task = await tinyTask({ steps: 3 });
    const lv = await firstUpdate(draftLv, task, { n: 1, ownGradient: true }, PROMPTS);
    const one = await firstUpdate(draft, task, { k: 1 }, PROMPTS);
    // The own sample is one of two terms: subtracting half of DRaFT-1 leaves the copy's gradient, which is not zero.
    const rest = [...lv.gradients].map(([name, g]) =>
      Array.from(g.data as Float32Array, (v, i) => v - 0.5 * (one.gradients.get(name)!.data[i] as number)));
    expect(Math.hypot(...rest.flat())).toBeGreaterThan(0);
    expect(Math.hypot(...rest.flat())).toBeLessThan(norm(lv.gradients) + 0.5 * norm(one.gradients));
  });

  test('more copies vary less from draw to draw', async () => {
    const task = await tinyTask({ steps: 3 });
    const spread = async (n: number): Promise<number> => {
      const stepper = await draftLv.create(task, { n, ownGradient: false });
      const rows: number[][] = [];
      for (let round = 0; round < 24; round++) {
        // The same sample each time (same items), other re-noising: only the estimator's own variance is seen.
        for await (const u of stepper.round(PROMPTS, round)) rows.push(Array.from(u.gradients.get('w2')!.data as Float32Array));
      }
      await stepper.release();
      const mean = rows[0]!.map((_, i) => rows.reduce((s, r) => s + r[i]!, 0) / rows.length);
      return rows.reduce((s, r) => s + r.reduce((a, v, i) => a + (v - mean[i]!) ** 2, 0), 0) / rows.length;
    };
    expect(await spread(8)).toBeLessThan(await spread(1));
  });
});

describe('ReFL', () => {
  test('the gradient is that of the clean prediction at the drawn step', async () => {
    const task = await tinyTask({ steps: 4, eta: 1 });
    const { gradients, metrics } = await firstUpdate(refl, task, { window: 0.5 }, PROMPTS);
    const at = metrics!['at']!;
    expect(at).toBeGreaterThanOrEqual(2);
    const roller = await openRoller(task);
    const x = (await roller.rollout(PROMPTS, 0, { stop: at })).x.at(-1)!;
    const step = task.plan.steps[at]!;
    const loss = async (): Promise<number> => {
      const output = (await roller.predict(x, step, PROMPTS)).data as Float32Array;
      const clean = { ...x, data: (x.data as Float32Array).map((v, i) => step.cleanX * v + step.cleanOut * output[i]!) };
      const s = await task.reward.score(clean, PROMPTS);
      return -(s[0]! + s[1]!) / 2;
    };
    expect(await directionalError(task, gradients, loss)).toBeLessThan(2e-3);
  });

  test('above the ceiling nothing is learnt', async () => {
    const task = await tinyTask({ steps: 4, eta: 1 });
    const { gradients, loss } = await firstUpdate(refl, task, { ceiling: -1e6 }, PROMPTS);
    expect(loss).toBe(0);
    expect(norm(gradients)).toBe(0);
  });
});

describe('AlignProp', () => {
  test('fixed truncation at the last step is DRaFT-1 on the stochastic sampler', async () => {
    const task = await tinyTask({ steps: 4, eta: 1 });
    const a = await firstUpdate(alignprop, task, { truncation: 'fixed' }, PROMPTS);
    const d = await firstUpdate(draft, task, { k: 1 }, PROMPTS);
    expect(a.gradients.get('w1')!.data).toEqual(d.gradients.get('w1')!.data);
  });

  test('the truncation point varies and stays inside', async () => {
    const task = await tinyTask({ steps: 10, eta: 1 });
    const stepper = await alignprop.create(task, alignprop.options.parse({}));
    const seen = new Set<number>();
    for (let round = 0; round < 12; round++) {
      for await (const { metrics } of stepper.round(PROMPTS, round)) seen.add(metrics!['from']!);
    }
    await stepper.release();
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(1);
    expect(Math.max(...seen)).toBeLessThan(10);
    expect(seen.size).toBeGreaterThan(2);
  });
});

describe('DRTune', () => {
  test('its gradient is that of a chain whose network inputs are held fixed', async () => {
    const task = await tinyTask({ steps: 4 });
    const { gradients, metrics } = await firstUpdate(drtune, task, { k: 10, earlyStop: 0 }, PROMPTS);
    expect(metrics!['stop']).toBe(3);
    const roller = await openRoller(task);
    const { x } = await roller.rollout(PROMPTS, 0);
    const loss = async (): Promise<number> => {
      let line = x[0]!.data as Float32Array;
      let clean = line;
      for (const [i, step] of task.plan.steps.entries()) {
        const output = (await roller.predict(x[i]!, step, PROMPTS)).data as Float32Array; // input held fixed
        clean = line.map((v, k) => step.cleanX * v + step.cleanOut * output[k]!);
        line = line.map((v, k) => step.meanX * v + step.meanOut * output[k]!);
      }
      const s = await task.reward.score({ ...x[0]!, data: clean }, PROMPTS);
      return -(s[0]! + s[1]!) / 2;
    };
    expect(await directionalError(task, gradients, loss)).toBeLessThan(2e-3);
  });

  test('trained steps are evenly spaced and all of them when there are few', () => {
    expect(trainedSteps(10, 3, () => 2)).toEqual([2, 5, 8]);
    expect(trainedSteps(2, 3, () => 0)).toEqual([0, 1]);
  });
});

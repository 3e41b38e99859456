import { describe, expect, test } from 'vitest';
import { meanOf } from '../../src/evaluation/evaluation.js';
import { alignprop, truncationPoint } from '../../src/methods/alignprop.js';
import { draftLv } from '../../src/methods/draft-lv.js';
import { draft } from '../../src/methods/draft.js';
import { drtune, trainedSteps } from '../../src/methods/drtune.js';
import { refl } from '../../src/methods/refl.js';
import { meanOfParts } from '../../src/methods/loss-graph.js';
import { openRewardedCall } from '../../src/methods/rewarded-call.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { samplesOf } from '../../src/methods/task.js';
import type { Task } from '../../src/methods/task.js';
import { normal } from '../../src/random/random.js';
import { combine } from '../../src/schedulers/linear.js';
import { toX0 } from '../../src/schedulers/step.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';

const PROMPTS = ['a cat', 'a much longer prompt'];

/** −mean reward of full samples: what DRaFT descends. */
async function sampledLoss(task: Task): Promise<() => Promise<number>> {
  const rollouts = await openRollouts(task);
  return async () => {
    const { x } = await rollouts.rollout(PROMPTS, 0);
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
    const rollouts = await openRollouts(task);
    const held = (await rollouts.rollout(PROMPTS, 0, { stop: 4 - k })).x.at(-1)!;
    const loss = async (): Promise<number> => {
      let x = held;
      for (const step of task.plan.steps.slice(4 - k)) {
        const output = (await rollouts.predict(x, step, PROMPTS)).data as Float32Array;
        const data = (x.data as Float32Array).map((v, i) => step.meanFromX * v + step.meanFromOutput * output[i]!);
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
  /**
   * The loss of Algorithm 1 with LV, written out: x_0 held fixed, copies x_1 = √ā·x_0 + √(1 − ā)·ε at the last step's
   * level, each rewarded at its clean prediction, and the sample's own last step where `own`.
   */
  async function writtenOut(task: Task, n: number, own: boolean, round: number): Promise<() => Promise<number>> {
    const rollouts = await openRollouts(task);
    const last = task.plan.steps.length - 1;
    const step = task.plan.steps[last]!;
    const { x } = await rollouts.rollout(PROMPTS, round);
    const [before, sample] = [x[last]!, x[last + 1]!];
    const [signal, noise] = [step.from.signal, step.from.noise];
    const copies = Array.from({ length: n }, (_, i) => {
      const epsilon = normal({ seed: task.seed, stream: 'draft-lv', step: round }, i, sample.data.length);
      return { ...sample, data: (sample.data as Float32Array).map((v, k) => signal * v + noise * epsilon[k]!) };
    });
    const rewarded = async (data: Float32Array): Promise<number> => meanOf(await task.reward.score({ ...sample, data }, PROMPTS));
    return async () => {
      const losses: number[] = [];
      for (const copy of copies) {
        const output = (await rollouts.predict(copy, step, PROMPTS)).data as Float32Array;
        losses.push(-await rewarded(copy.data.map((v, k) => (v - noise * output[k]!) / signal)));
      }
      if (own) {
        const output = (await rollouts.predict(before, step, PROMPTS)).data as Float32Array;
        losses.push(-await rewarded((before.data as Float32Array).map((v, k) => step.meanFromX * v + step.meanFromOutput * output[k]!)));
      }
      return meanOf(losses);
    };
  }

  test.each([[1, false], [3, false], [2, true]])('n = %i, own gradient %s: its gradient is that of Algorithm 1 written out', async (n, ownGradient) => {
    const task = await tinyTask({ steps: 3 });
    const { gradients, loss } = await firstUpdate(draftLv, task, { n, ownGradient }, PROMPTS, 5);
    const written = await writtenOut(task, n, ownGradient, 5);
    expect(loss).toBeCloseTo(await written(), 5);
    expect(await directionalError(task, gradients, written)).toBeLessThan(2e-3);
  });

  test('what it takes beside the copies is DRaFT-1', async () => {
    const task = await tinyTask({ steps: 3 });
    const [both, copy] = [await firstUpdate(draftLv, task, { n: 1 }, PROMPTS), await firstUpdate(draftLv, task, { n: 1, ownGradient: false }, PROMPTS)];
    const one = await firstUpdate(draft, task, { k: 1 }, PROMPTS);
    for (const [name, g] of both.gradients) {
      const [b, c, d] = [g, copy.gradients.get(name)!, one.gradients.get(name)!].map((t) => Array.from(t.data as Float32Array)) as [number[], number[], number[]];
      b.forEach((v, i) => expect(v).toBeCloseTo((c[i]! + d[i]!) / 2, 5));
    }
  });

  test('of one sample, more copies vary less from draw to draw: by their number', async () => {
    const task = await tinyTask({ steps: 3 });
    const start = samplesOf(task, normal({ seed: 2, stream: 'start', step: 0 }, 0, 24));
    /** Variance of the copies' gradient over draws of their noise, all else the same. */
    const spread = async (n: number): Promise<number> => {
      // Rounds differ in their starts as well as in the copies' noise: here all start from one sample and its one plan.
      const step = task.plan.steps.at(-1)!;
      const call = await openRewardedCall(task);
      const rows: number[][] = [];
      for (let draw = 0; draw < 48; draw++) {
        const parts = meanOfParts();
        for (let i = 0; i < n; i++) {
          const noise = normal({ seed: 3, stream: 'copies', step: draw }, i, 24);
          const x = samplesOf(task, combine([step.from.signal, start.data as Float32Array], [step.from.noise, noise]));
          parts.add(await call.run(x, toX0(step), PROMPTS));
        }
        rows.push(Array.from(parts.mean().gradients.get('w2')!.data as Float32Array));
      }
      await call.release();
      const mean = rows[0]!.map((_, i) => rows.reduce((s, r) => s + r[i]!, 0) / rows.length);
      return rows.reduce((s, r) => s + r.reduce((a, v, i) => a + (v - mean[i]!) ** 2, 0), 0) / (rows.length - 1);
    };
    const ratio = (await spread(1)) / (await spread(4));
    expect(ratio).toBeGreaterThan(2.5);
    expect(ratio).toBeLessThan(6);
  });
});

describe('ReFL', () => {
  test('the gradient is that of the clean prediction at the drawn step', async () => {
    const task = await tinyTask({ steps: 4, eta: 1 });
    const { gradients, metrics } = await firstUpdate(refl, task, { window: 0.5 }, PROMPTS);
    const at = metrics!['at']!;
    expect(at).toBeGreaterThanOrEqual(2);
    const rollouts = await openRollouts(task);
    const x = (await rollouts.rollout(PROMPTS, 0, { stop: at })).x.at(-1)!;
    const step = task.plan.steps[at]!;
    const loss = async (): Promise<number> => {
      const output = (await rollouts.predict(x, step, PROMPTS)).data as Float32Array;
      const clean = { ...x, data: (x.data as Float32Array).map((v, i) => step.x0FromX * v + step.x0FromOutput * output[i]!) };
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

  const PICKED = [['uniform', {}], ['gaussian', { mean: 0.5, deviation: 0.3 }]] as const;

  test.each(PICKED)('%s: the gradient is DRaFT\'s through the steps from the drawn one on', async (truncation, settings) => {
    const task = await tinyTask({ steps: 4, eta: 1 });
    const seen = new Set<number>();
    for (let round = 0; round < 8; round++) {
      const { gradients, metrics } = await firstUpdate(alignprop, task, { truncation, ...settings }, PROMPTS, round);
      const from = metrics!['from']!;
      const through = await firstUpdate(draft, task, { k: 4 - from }, PROMPTS, round);
      for (const [name, g] of through.gradients) expect(gradients.get(name)!.data).toEqual(g.data);
      seen.add(from);
    }
    expect(seen.size).toBeGreaterThan(2);
  });

  /** Where gradient starts, over rounds of a task of 50 steps. */
  async function starts(given: unknown, rounds: number): Promise<number[]> {
    const task = await tinyTask({ steps: 50, eta: 1, batch: 1 });
    const all: number[] = [];
    for (let round = 0; round < rounds; round++) all.push(truncationPoint(alignprop.options.parse(given), task, round));
    return all;
  }

  test('uniform points cover all steps alike', async () => {
    const all = await starts({ truncation: 'uniform' }, 4000);
    const counts = Array.from({ length: 50 }, (_, i) => all.filter((v) => v === i).length);
    expect(Math.min(...counts)).toBeGreaterThan(40); // 80 each, deviation 9
    expect(Math.max(...counts)).toBeLessThan(120);
  });

  test('gaussian points have the published mean and deviation, and stay inside', async () => {
    const all = await starts({}, 4000);
    const average = meanOf(all);
    expect(average).toBeCloseTo(42 - 0.5 - 0.3, 0); // 0.84 · 50, rounded down, what lies beyond the end cut off
    expect(Math.sqrt(meanOf(all.map((v) => (v - average) ** 2)))).toBeGreaterThan(4);
    expect(Math.sqrt(meanOf(all.map((v) => (v - average) ** 2)))).toBeLessThan(5);
    expect(Math.max(...all)).toBe(49);
    const low = await starts({ mean: 0, deviation: 0.05 }, 400);
    expect(Math.min(...low)).toBe(1);
    // Nothing inside at all: the last step, as `fixed`.
    expect(new Set(await starts({ mean: 1, deviation: 1e-9 }, 20))).toEqual(new Set([49]));
  });

  test('with a target the loss is the distance to it, scaled', async () => {
    const task = await tinyTask({ steps: 3, eta: 1 });
    const given = { truncation: 'fixed', target: 4, scale: 0.01 };
    const { loss, rewards } = await firstUpdate(alignprop, task, given, PROMPTS);
    expect(loss).toBeCloseTo(meanOf(Array.from(rewards, (r) => Math.abs(4 - r) * 0.01)), 6);
  });
});

describe('DRTune', () => {
  /** The loss of a chain whose network inputs are held fixed, and whose outputs are too at steps that are not trained. */
  async function heldChain(
    task: Task, round: number, stop: number, trained: (i: number) => boolean,
    lossOf = (score: Float32Array): number => -meanOf(score),
  ): Promise<() => Promise<number>> {
    const rollouts = await openRollouts(task);
    const { x } = await rollouts.rollout(PROMPTS, round);
    const outputs: Float32Array[] = [];
    for (const [i, step] of task.plan.steps.entries()) outputs.push((await rollouts.predict(x[i]!, step, PROMPTS)).data as Float32Array);
    return async () => {
      let line = x[0]!.data as Float32Array;
      let clean = line;
      for (const [i, step] of task.plan.steps.slice(0, stop + 1).entries()) {
        const output = trained(i) ? (await rollouts.predict(x[i]!, step, PROMPTS)).data as Float32Array : outputs[i]!;
        clean = line.map((v, k) => step.x0FromX * v + step.x0FromOutput * output[k]!);
        line = line.map((v, k) => step.meanFromX * v + step.meanFromOutput * output[k]!);
      }
      return lossOf(await task.reward.score({ ...x[0]!, data: clean }, PROMPTS));
    };
  }

  test('with all steps trained its gradient is that of a chain whose network inputs are held fixed', async () => {
    const task = await tinyTask({ steps: 4 });
    const { gradients, metrics } = await firstUpdate(drtune, task, { k: 10, earlyStop: 0 }, PROMPTS);
    expect(metrics!['stop']).toBe(3);
    expect(await directionalError(task, gradients, await heldChain(task, 0, 3, () => true))).toBeLessThan(2e-3);
  });

  test('its stride and early stop: over rounds, the gradient is that of the drawn steps and of x̂0 at the drawn stop', async () => {
    const task = await tinyTask({ steps: 8 });
    const seen = new Set<string>();
    for (let round = 0; round < 6; round++) {
      const { gradients, metrics } = await firstUpdate(drtune, task, { k: 2, earlyStop: 0.5 }, PROMPTS, round);
      const stop = metrics!['stop']!;
      expect(stop).toBeGreaterThanOrEqual(3);
      expect(stop).toBeLessThanOrEqual(7);
      // Two steps, half of the walked steps apart; only the right start gives the gradient that was returned.
      const stride = Math.floor((stop + 1) / 2);
      const errors: number[] = [];
      for (let start = 0; start + stride <= stop; start++) {
        const loss = await heldChain(task, round, stop, (i) => i === start || i === start + stride);
        errors.push(await directionalError(task, gradients, loss));
      }
      expect(Math.min(...errors)).toBeLessThan(4e-3);
      expect(errors.filter((e) => e < 4e-2)).toHaveLength(1);
      seen.add(`${stop} ${errors.indexOf(Math.min(...errors))}`);
    }
    expect(seen.size).toBeGreaterThan(2);
  });

  test('a model that predicts the clean sample trains the rewarded step alone: x̂0 does not depend on x there', async () => {
    const task = await tinyTask({ steps: 4, predictionType: 'sample' });
    const { gradients } = await firstUpdate(drtune, task, { k: 10, earlyStop: 0 }, PROMPTS);
    expect(await directionalError(task, gradients, await heldChain(task, 0, 3, () => true))).toBeLessThan(2e-3);
  });

  test('above the ceiling nothing is learnt, below it all', async () => {
    const task = await tinyTask({ steps: 4 });
    const free = await firstUpdate(drtune, task, { k: 10, earlyStop: 0 }, PROMPTS);
    const [a, b] = free.rewards as unknown as [number, number];
    const between = (a + b) / 2;
    const { gradients, loss } = await firstUpdate(drtune, task, { k: 10, earlyStop: 0, ceiling: between }, PROMPTS);
    expect(loss).toBeCloseTo((between - Math.min(a, b)) / 2, 5);
    const chain = await heldChain(task, 0, 3, () => true, (score) => -meanOf(Array.from(score, (r) => Math.min(r, between))));
    expect(await directionalError(task, gradients, chain)).toBeLessThan(2e-3);
    const none = await firstUpdate(drtune, task, { k: 10, earlyStop: 0, ceiling: Math.min(a, b) }, PROMPTS);
    expect(none.loss).toBe(0);
    expect(norm(none.gradients)).toBe(0);
  });

  test('trained steps are evenly spaced and all of them when there are few', () => {
    expect(trainedSteps(10, 3, () => 2)).toEqual([2, 5, 8]);
    expect(trainedSteps(2, 3, () => 0)).toEqual([0, 1]);
  });
});

/** @file A method does not know how its round is cut: same statistics and gradients; same bits in whatever order the cuts are made. */
import { afterAll, describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { stopGradient } from '../../src/graph/grad.js';
import { mul } from '../../src/graph/ops/arithmetic.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { inCuts } from '../../src/methods/cuts.js';
import { draft } from '../../src/methods/draft.js';
import { fixedSum } from '../../src/methods/fixed-sum.js';
import { METHODS } from '../../src/methods/index.js';
import type { Update } from '../../src/methods/method.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { atOnce, cutName, cutsOf, measured, openWork, updatesOf } from '../../src/methods/work.js';
import type { Executor } from '../../src/methods/work.js';
import { input } from '../../src/graph/tensor.js';
import { normal, permutation } from '../../src/random/random.js';
import { bestOfN } from '../../src/search/best-of-n.js';
import { openExplorer } from '../../src/search/explorer.js';
import { initAdamW, updateAdamW } from '../../src/training/adamw.js';
import type { SessionPool } from '../../src/runtime/session-pool.js';
import { openSessionThreads } from '../../src/workers/session-threads.js';
import { NO_DATA, tinyTask } from './tiny-task.js';

const BATCH = 8;
const PROMPTS = Array.from({ length: BATCH }, (_, i) => 'x'.repeat(1 + ((5 * i) % 7)));

/** Every path through every method that touches the items of a round. */
const CASES: [name: string, options: object][] = [
  ['draft', { k: 'all' }], ['draft', { k: 1 }], ['draft-lv', {}], ['draft-lv', { ownGradient: false }],
  ['refl', { pretrain: {}, ceiling: 5 }], ['refl', { pretrain: { update: 'summed', pictures: 'here' } }], ['alignprop', { truncation: 'uniform', target: 3 }],
  ['drtune', { ceiling: 4 }], ['flowbp-sparse', { k: 2 }], ['nft', { group: 2, times: 2 }], ['awm', { group: 2, times: 2 }], ['srpo', {}], ['nabla-db', { updates: 2, fraction: 0.5 }], ['nabla-db', { flow: false, smoothing: 2 }], ['rsm', { updates: 2, fraction: 0.5 }],
  ['adjoint-matching', { quantile: 0.5 }], ['grpo', { group: 4, ratio: 'guard', klKind: 'transition', window: { size: 3 } }],
  ['nabla-db', { reverseGradient: 'full', lag: true, guess: 'base' }], ['ddpo', {}], ['ddpo', { perPrompt: { minCount: 1 }, innerEpochs: 2 }],
  ['ddpo', { variant: 'sf', perPrompt: null, timestepFraction: 0.5 }], ['d3po', {}], ['dpo', { samples: 3, updates: 2, from: 'tuned' }],
  ['dpo', { pairs: 'here' }], ['sharpen-sft', { n: 2, gridSteps: 4 }], ['sharpen-sft', { pictures: 'here' }],
  ['sharpen-rlhf', { n: 2, gridSteps: 4 }], ['sharpen-rlhf', { reference: 'first', detach: true }],
];

const stored = (name: string): HostTensor => host(normal({ seed: 2, stream: name, step: 0 }, 0, 5 * 12), [5, 3, 2, 2]);
const taken = (name: string, indices: readonly number[]): HostTensor =>
  host(Float32Array.from(indices.flatMap((i) => [...(stored(name).data as Float32Array).subarray(12 * i, 12 * i + 12)])), [indices.length, 3, 2, 2]);
const data: typeof NO_DATA = {
  pictures: async () => ({ prompts: PROMPTS.slice(0, 5), samples: async (indices) => taken('pictures', indices) }),
  pairs: async () => ({ prompts: PROMPTS.slice(0, 5), samples: async (indices) => ({ winners: taken('winners', indices), losers: taken('losers', indices) }) }),
};

/** The updates of two rounds; each is applied before the next where `applied`. */
async function updates(
  name: string, options: object, microbatch: number, { executor, pool, applied = false }: { executor?: Executor; pool?: SessionPool; applied?: boolean } = {},
): Promise<Update[]> {
  const method = METHODS.find((m) => m.name === name)!;
  const task = await tinyTask({ eta: 1, lastStep: 'ddpo', batch: BATCH, microbatch, data, ...(executor && { executor }), ...(pool && { pool }) });
  /** How often each graph is still to be released. */
  const open = new Map<object, number>();
  const compile: typeof task.compile = async (...given) => {
    const graph = await task.compile(...given);
    open.set(graph, 1);
    return { ...graph, release: () => (open.set(graph, open.get(graph)! - 1), graph.release()) };
  };
  const rule = await method.create({ ...task, compile }, method.options.parse(options));
  const state = initAdamW(task.parameters);
  const all: Update[] = [];
  for (let round = 0; round < 2; round++) {
    for await (const update of updatesOf(task, rule, { round, prompts: PROMPTS })) {
      all.push({ ...update, gradients: new Map([...update.gradients].map(([key, t]) => [key, { ...t, data: t.data.slice() }])) });
      if (applied) updateAdamW(task.parameters, update.gradients, state, 1e-2, { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 });
    }
  }
  await rule.release();
  expect(new Set(open.values()), 'graphs released').toEqual(new Set([0]));
  expect(all.length).toBeGreaterThan(0);
  return all;
}

const numbers = (t: HostTensor): number[] => Array.from(t.data, Number);
const largest = (values: readonly number[]): number => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

/** Equal but for rounding, relative to the largest. */
function expectNear(actual: readonly number[], expected: readonly number[], what: string): void {
  expect(actual.length, what).toBe(expected.length);
  expect(largest(expected.map((v, i) => v - actual[i]!)), what).toBeLessThanOrEqual(2e-5 * Math.max(largest(expected), 1e-3));
}

/** Makes the cuts in another order at each call, all before any is taken, which is done in yet another. */
function shuffled(seed: number): Executor {
  let call = 0;
  return async (cuts, work, take) => {
    const order = (stream: string): number[] => [...permutation({ seed, stream, step: call }, 0, cuts.length)];
    const results = new Map<number, Awaited<ReturnType<typeof work>>>();
    for (const i of order('work')) results.set(i, await work(cuts[i]!));
    for (const i of order('take')) take(cuts[i]!, results.get(i)!);
    call += 1;
  };
}

/** Workers that meet nowhere but here: what one has computed the others find under the cut's name. */
function openExchange() {
  const results = new Map<string, unknown>();
  const waiting = new Map<string, () => void>();
  const find = async (name: string): Promise<unknown> => {
    if (!results.has(name)) await new Promise<void>((resolve) => waiting.set(name, resolve));
    return structuredClone(results.get(name));
  };
  return {
    worker: (own: number, count: number): Executor => async (cuts, work, take) => {
      for (const cut of cuts.filter(({ index }) => index % count === own)) {
        const name = cutName(cut);
        expect(results.has(name), `${name} was computed before`).toBe(false);
        results.set(name, structuredClone(await work(cut)));
        waiting.get(name)?.();
      }
      for (const cut of cuts) take(cut, await find(cutName(cut)) as Awaited<ReturnType<typeof work>>);
    },
  };
}

test('every method is among them', () => {
  expect(new Set(CASES.map(([name]) => name))).toEqual(new Set(METHODS.map(({ name }) => name)));
});

describe.each(CASES)('%s %o', (name, options) => {
  test('sees the same in microbatches of 8, 4, 2 and 1', async () => {
    const whole = await updates(name, options, BATCH);
    for (const microbatch of [4, 2, 1]) {
      const cut = await updates(name, options, microbatch);
      expect(cut.length).toBe(whole.length);
      for (const [i, update] of cut.entries()) {
        const expected = whole[i]!;
        const at = `update ${i} in microbatches of ${microbatch}`;
        expectNear([update.loss], [expected.loss], `${at}: loss`);
        expectNear([...update.rewards], [...expected.rewards], `${at}: rewards`);
        expect(Object.keys(update.metrics ?? {})).toEqual(Object.keys(expected.metrics ?? {}));
        for (const [key, value] of Object.entries(expected.metrics ?? {})) expectNear([update.metrics![key]!], [value], `${at}: ${key}`);
        expect([...update.gradients.keys()]).toEqual([...expected.gradients.keys()]);
        for (const [key, t] of expected.gradients) expectNear(numbers(update.gradients.get(key)!), numbers(t), `${at}: gradient by ${key}`);
      }
    }
  });

  test('has the same bits in any order of the cuts', async () => {
    const one = await updates(name, options, 2, { applied: true });
    expect(await updates(name, options, 2, { applied: true, executor: shuffled(7) })).toEqual(one);
  });
});

const threads = openSessionThreads(3);
afterAll(threads.release);

const TOGETHER = CASES.filter(([name], i) => ['draft-lv', 'nabla-db', 'ddpo', 'dpo', 'sharpen-rlhf'].includes(name) && CASES[i - 1]?.[0] !== name);

test.each(TOGETHER)('%s %o: the same bits in worker threads, whichever are free', async (name, options) => {
  const one = await updates(name, options, 2, { applied: true });
  expect(await updates(name, options, 2, { applied: true, executor: atOnce(3), pool: threads })).toEqual(one);
});

test.each(TOGETHER)(
  '%s %o: the same bits where two workers compute every other cut and know the others\' by their names', async (name, options) => {
  const one = await updates(name, options, 2, { applied: true });
  const exchange = openExchange();
  const workers = [0, 1].map((worker) => updates(name, options, 2, { applied: true, executor: exchange.worker(worker, 2) }));
  expect(await Promise.all(workers)).toEqual([one, one]);
});

test('evaluations and searches too have names that two workers can share them by, before, between and after updates', async () => {
  const measuring = async (executor?: Executor): Promise<unknown> => {
    const task = await tinyTask({ steps: 3, eta: 1, batch: BATCH, microbatch: 2, together: 4, ...(executor && { executor }) });
    const rollouts = await openRollouts(task);
    const rule = await draft.create(task, draft.options.parse({ k: 1 }));
    const explorer = await openExplorer(task);
    const evaluation = (name: string): Promise<unknown> => measured(task, name, async () => (await rollouts.rollout(PROMPTS, 0)).x.at(-1)!.data);
    const found: unknown[] = [await evaluation('evaluation of base model')];
    for await (const { gradients } of updatesOf(task, rule, { round: 0, prompts: PROMPTS })) {
      found.push([...gradients.values()], await evaluation('evaluation of step 1'));
    }
    const work = { prompts: PROMPTS, items: PROMPTS.map((_, i) => i) };
    found.push(await measured(task, 'best of 2', async () => (await bestOfN.run(explorer, { n: 2 }, work)).scores));
    return found;
  };
  const one = await measuring();
  const exchange = openExchange();
  expect(await Promise.all([0, 1].map((worker) => measuring(exchange.worker(worker, 2))))).toEqual([one, one]);
});

test.each([1, 2, 3, 5, 8, 13])('a fixed sum of %i terms does not depend on their order, and few of them wait', (count) => {
  const term = (i: number): HostTensor => host(normal({ seed: 1, stream: 'term', step: 0 }, i, 7), [7]);
  const summed = (order: Iterable<number>): HostTensor => {
    const sum = fixedSum(count);
    for (const i of order) {
      expect(() => sum.total()).toThrow(/before all/);
      sum.add(i, term(i));
    }
    return sum.total();
  };
  const inOrder = summed(Array.from({ length: count }, (_, i) => i));
  for (let seed = 0; seed < 5; seed++) {
    expect(summed(permutation({ seed, stream: 'order', step: 0 }, 0, count))).toEqual(inOrder);
  }
  const exact = Array.from({ length: 7 }, (_, k) => Array.from({ length: count }, (__, i) => numbers(term(i))[k]!).reduce((a, b) => a + b, 0));
  expectNear(numbers(inOrder), exact, 'the sum');
});

describe('a graph over any number of items', () => {
  const [x, shared] = [input('x', [2, 3]), input('shared', [2, 3])];
  const rows = mul(x, shared);
  const seen: number[][] = [];
  const held = async (feeds: Readonly<Record<string, HostTensor>>, prompts: readonly string[]) => {
    const [a, b] = [numbers(feeds['x']!), numbers(feeds['shared']!)];
    seen.push(a, [prompts.length]);
    const product = Float32Array.from(a, (v, i) => v * b[i]!);
    return { rows: host(product, [2, 3]), total: host(Float32Array.of(product.reduce((p, q) => p + q, 0)), []) };
  };
  const outputs = { rows, total: sum(stopGradient(rows)) };
  const vector = (count: number): HostTensor => host(Float32Array.from({ length: 3 * count }, (_, i) => i), [count, 3]);
  const feeds = (count: number) => ({ x: vector(count), shared: vector(2) });

  test('cuts what is per item, feeds the rest as it is, and fills up the last cut', async () => {
    const run = inCuts<'rows'>({ rows }, held, 2, {}, openWork());
    seen.length = 0;
    const result = await run(feeds(3), ['a', 'b', 'c']);
    expect(seen).toEqual([[0, 1, 2, 3, 4, 5], [2], [6, 7, 8, 6, 7, 8], [2]]);
    expect(result.rows).toEqual(host(Float32Array.of(0, 1, 4, 9, 16, 25, 0, 7, 16), [3, 3]));
  });

  test('sums and means are over all items', async () => {
    const of = (kind: 'sum' | 'mean') => inCuts(outputs, held, 2, { over: new Map([['total', kind] as const]) }, openWork());
    expect((await of('sum')(feeds(4), ['a', 'b', 'c', 'd'])).total.data).toEqual(Float32Array.of(55 + 145));
    expect((await of('mean')(feeds(4), ['a', 'b', 'c', 'd'])).total.data).toEqual(Float32Array.of((55 + 145) / 2));
    await expect(of('mean')(feeds(3), ['a', 'b', 'c'])).rejects.toThrow('3 items cannot be cut into microbatches of 2');
  });

  test('an output without a row for each item must be said to be a sum or a mean', () => {
    expect(() => inCuts(outputs, held, 2, {}, openWork())).toThrow(/output total .* no row for each of 2 items/);
  });

  test('inputs made from prompts are made for each cut', async () => {
    const asked: string[][] = [];
    const run = inCuts<'rows'>({ rows }, held, 2, { feeds: async (prompts) => (asked.push([...prompts]), { shared: vector(2) }) }, openWork());
    await run({ x: vector(3) }, ['a', 'b', 'c']);
    expect(asked).toEqual([['a', 'b'], ['c', 'c']]);
  });

  test('cuts are numbered', () => {
    expect(cutsOf(5, 2)).toEqual([0, 2, 4].map((from, index) => ({ of: null, index, from, count: from === 4 ? 1 : 2 })));
    const of = { round: 3, update: 1, call: 4 };
    expect(cutsOf(5, 2, of).map(cutName)).toEqual([0, 1, 2].map((index) => `round 3 update 1 call 4 cut ${index}`));
    expect(cutsOf(3, 2, { measurement: 'evaluation of step 3', call: 1 }).map(cutName)).toEqual([0, 1].map((index) => `evaluation of step 3 call 1 cut ${index}`));
    expect(() => cutName(cutsOf(1, 1)[0]!)).toThrow('no update or measurement');
  });
});

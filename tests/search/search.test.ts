import { expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import { samplesOf } from '../../src/methods/task.js';
import type { Task } from '../../src/methods/task.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { samplers } from '../../src/schedulers/index.js';
import { sample } from '../../src/schedulers/sample.js';
import { stepFeed, stepInput } from '../../src/schedulers/step.js';
import { input } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { bestOfN } from '../../src/search/best-of-n.js';
import { openExplorer } from '../../src/search/explorer.js';
import { SEARCHES } from '../../src/search/index.js';
import { paths } from '../../src/search/paths.js';
import { withinBudget } from '../../src/search/search.js';
import type { Search, SearchResult } from '../../src/search/search.js';
import { zeroOrder } from '../../src/search/zero-order.js';
import { tinyTask } from '../methods/tiny-task.js';
import type { TestTask, TinyOptions } from '../methods/tiny-task.js';

const PROMPTS = ['a cat', 'two dogs in the rain', 'x'];
const STEPS = 5;

interface Settings extends TinyOptions {
  prompts?: readonly string[];
  items?: readonly number[];
  callsPerSample?: number;
  task?: TestTask;
}

async function search<O>(
  which: Search<O>, given: Partial<O>, settings: Settings = {},
): Promise<SearchResult & { task: TestTask }> {
  const { prompts = PROMPTS, items = prompts.map((_, i) => i), callsPerSample = 1, ...tiny } = settings;
  const task = settings.task ?? (await tinyTask({ steps: STEPS, seed: 5, batch: 4, ...tiny }));
  const explorer = await openExplorer({ ...task, callsPerSample });
  const result = await which.run(explorer, which.options.parse(given), { prompts, items });
  await explorer.release();
  return { ...result, task };
}

type AnySearch = Search<Record<string, number>>;

/** Small settings of every search, deterministic in what they cost. */
const SMALL: readonly [name: string, search: AnySearch, options: Record<string, number>][] = [
  ['best-of-n', bestOfN as unknown as AnySearch, { n: 6 }],
  ['zero-order', zeroOrder as unknown as AnySearch, { rounds: 3, neighbours: 3 }],
  ['paths', paths as unknown as AnySearch, { n: 2, branches: 3, start: 2, forward: 1, backward: 2 }],
];

const { plan: PLAN } = await tinyTask({ steps: STEPS });

const scoresOf = (result: SearchResult): number[][] => result.traces.map((trace) => trace.map((t) => t.score));

/** The task's score of some samples, one by one. */
async function rescored(task: Task, samples: HostTensor, prompts: readonly string[]): Promise<number[]> {
  const size = samples.data.length / prompts.length;
  const scores: number[] = [];
  for (const [i, prompt] of prompts.entries()) {
    const batch = new Float32Array(task.microbatch * size);
    batch.set((samples.data as Float32Array).subarray(i * size, (i + 1) * size));
    const [score] = await task.reward.score(samplesOf(task, batch), new Array<string>(task.microbatch).fill(prompt));
    scores.push(score!);
  }
  return scores;
}

test('the searches have names of their own', () => {
  expect(SEARCHES.map((s) => s.name)).toEqual(SMALL.map(([name]) => name));
});

test.each(SMALL)('%s returns the best finished sample of all that it scored', async (_, which, options) => {
  const { samples, scores, winners, traces, task } = await search(which, options, { eta: 1 });
  expect(samples.shape).toEqual([3, 3, 2, 2]);
  traces.forEach((trace, i) => {
    const finished = trace.filter((t) => t.steps === STEPS);
    expect(scores[i]).toBe(Math.max(...finished.map((t) => t.score)));
    expect(winners[i]).toBe(finished.find((t) => t.score === scores[i]));
    expect(new Set(finished.map((t) => t.score)).size).toBe(finished.length); // no candidate is made twice
  });
  expect(await rescored(task, samples, PROMPTS)).toEqual([...scores].map((s) => expect.closeTo(s, 5) as number));
});

test.each(SMALL)('%s counts every denoiser call and every query', async (_, which, options) => {
  const { counts, traces, task } = await search(which, options, { batch: 1 });
  const { denoiserCalls, rewardQueries } = which.cost(which.options.parse(options), PLAN);
  expect(counts).toEqual({ denoiserCalls: 3 * denoiserCalls, rewardQueries: 3 * rewardQueries });
  expect(task.counts).toEqual(counts);
  for (const trace of traces) {
    expect(trace).toHaveLength(rewardQueries);
    expect(trace.map((t) => t.rewardQueries)).toEqual(trace.map((__, i) => i + 1));
    expect(trace.at(-1)!.denoiserCalls).toBe(denoiserCalls);
  }
  const guided = await search(which, options, { callsPerSample: 2 });
  expect(guided.counts).toEqual({ denoiserCalls: 6 * denoiserCalls, rewardQueries: 3 * rewardQueries });
});

test('what the searches cost, by their formulae', () => {
  expect(bestOfN.cost({ n: 6 }, PLAN)).toEqual({ denoiserCalls: 30, rewardQueries: 6 });
  const zero = { rounds: 3, neighbours: 4, cosine: 0.9 };
  expect(zeroOrder.cost({ ...zero, restart: 'keep' }, PLAN)).toEqual({ denoiserCalls: 13 * 5, rewardQueries: 13 });
  expect(zeroOrder.cost({ ...zero, restart: 'fresh' }, PLAN)).toEqual({ denoiserCalls: 15 * 5, rewardQueries: 15 });
  // 2 noises for 2 steps; then 2·3 branches from 1 to 3, from 2 to 4, from 3 to 5.
  const path = { n: 2, branches: 3, start: 2, forward: 1, backward: 2 };
  expect(paths.cost(path, PLAN)).toEqual({ denoiserCalls: 2 * 2 + 6 * 6, rewardQueries: 18 });
});

test.each(SMALL)('%s does not depend on the batch or on other prompts', async (_, which, options) => {
  const together = await search(which, options, { eta: 1 });
  const small = await search(which, options, { eta: 1, batch: 2 });
  expect(scoresOf(small)).toEqual(scoresOf(together).map((row) => row.map((s) => expect.closeTo(s, 5) as number)));
  expect(small.winners.map((w) => w.candidate)).toEqual(together.winners.map((w) => w.candidate));
  const alone = await search(which, options, { eta: 1, prompts: [PROMPTS[1]!], items: [1] });
  expect(scoresOf(alone)[0]).toEqual(scoresOf(together)[1]!.map((s) => expect.closeTo(s, 5) as number));
  const other = await search(which, options, { eta: 1, prompts: [PROMPTS[1]!], items: [2] });
  expect(scoresOf(other)).not.toEqual(scoresOf(alone));
});

test.each(SMALL)('%s is the same again, and another one with another seed', async (_, which, options) => {
  const first = await search(which, options, { eta: 1 });
  const { traces, samples } = await search(which, options, { eta: 1 });
  expect(traces).toEqual(first.traces);
  expect(samples).toEqual(first.samples);
  expect(scoresOf(await search(which, options, { eta: 1, seed: 6 }))).not.toEqual(scoresOf(first));
});

test.each(SMALL)('the largest effort within a budget', (_, which, options) => {
  const parsed = which.options.parse(options);
  for (const budget of [60, 100, 111, 500]) {
    const chosen = withinBudget(which, parsed, PLAN, budget)!;
    const more = { ...chosen, [which.effort]: chosen[which.effort]! + 1 };
    expect(which.cost(chosen, PLAN).denoiserCalls).toBeLessThanOrEqual(budget);
    expect(which.cost(more, PLAN).denoiserCalls).toBeGreaterThan(budget);
  }
  expect(withinBudget(which, parsed, PLAN, 4)).toBeNull();
});

/** Samples from the noise of a seed with the plain sampling loop, one by one. */
async function plain(task: Task, seed: number, prompt: string): Promise<HostTensor> {
  const x = input('x', [task.microbatch, ...task.sampleShape]);
  const network = await task.compile({ output: task.network(x, stepInput('step', task.microbatch), 'tuned') });
  const result = await sample(
    async (values, step) => {
      const batch = new Float32Array(task.microbatch * 12);
      batch.set(values);
      const steps = stepFeed(new Array<typeof step>(task.microbatch).fill(step));
      const feeds = { x: samplesOf(task, batch), step: steps };
      const { output } = await network.run(feeds, new Array<string>(task.microbatch).fill(prompt));
      return (output.data as Float32Array).slice(0, 12);
    },
    task.plan, (draw, item, count) => normal({ seed: item, stream: 'sample', step: draw }, 0, count), [seed], 12,
  );
  await network.release();
  return { dtype: 'float32', shape: [1, 3, 2, 2], data: result };
}

test.each([
  ['a stochastic sampler', (task: Task) => ddim(task.process, STEPS, { eta: 1, lastStep: 'ddpo' })],
  ['a multistep sampler', (task: Task) => samplers['dpm++2m'].plan(task.process, STEPS, {})],
  ['a sampler of two calls a step', (task: Task) => samplers.heun.plan(task.process, STEPS, { spacing: 'trailing' })],
  ['a sampler that looks further back', (task: Task) => samplers.unipc.plan(task.process, 2 * STEPS, { order: 3 })],
])('best of n makes what plain sampling makes from its seeds, with %s', async (_, planOf) => {
  const tiny = await tinyTask({ batch: 4, seed: 20 });
  const task = { ...tiny, plan: planOf(tiny) };
  const { samples, winners, traces } = await search(bestOfN, { n: 3 }, { task });
  expect(traces.map((trace) => trace.map((t) => t.seed))).toEqual([20, 21, 22].map((s) => [s, s + 1e6, s + 2e6]));
  for (const [i, { seed }] of winners.entries()) {
    const again = await plain(task, seed, PROMPTS[i]!);
    const own = (samples.data as Float32Array).subarray(i * 12, (i + 1) * 12);
    expect([...own]).toEqual([...(again.data as Float32Array)].map((v) => expect.closeTo(v, 5) as number));
  }
});

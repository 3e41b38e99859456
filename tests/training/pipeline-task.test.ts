/** @file A pipeline as methods see it: rewards that break their contract, the networks at the start, what calls cost. */
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { mul, square } from '../../src/graph/ops/arithmetic.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input, weight } from '../../src/graph/tensor.js';
import { counted } from '../../src/methods/counted.js';
import type { Counts } from '../../src/methods/counted.js';
import { openBackprop } from '../../src/methods/backprop.js';
import { perItem } from '../../src/methods/reward-loss.js';
import { openRewardedCall } from '../../src/methods/rewarded-call.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { samplesOf, sampleSize } from '../../src/methods/task.js';
import type { UNetConfig } from '../../src/models/config.js';
import { loadPipeline } from '../../src/loading/load.js';
import { conditionInputs } from '../../src/models/pipeline.js';
import { normal } from '../../src/random/random.js';
import type { Reward } from '../../src/rewards/reward.js';
import { ddim } from '../../src/schedulers/ddim.js';
import { combine } from '../../src/schedulers/linear.js';
import { stepFeed, stepInput, takeStep } from '../../src/schedulers/step.js';
import { readSchedulerConfig } from '../../src/schedulers/scheduler-config.js';
import { auxiliaryNetwork } from '../../src/training/auxiliary.js';
import { openPipelineTask } from '../../src/training/pipeline-task.js';
import type { PipelineTask } from '../../src/training/pipeline-task.js';

const pipeline = await loadPipeline(join(import.meta.dirname, '..', 'fixtures', 'pipeline_sd1'));
const { process } = readSchedulerConfig(pipeline.scheduler, 'fixture');
const PROMPTS = ['a cat', 'a dog'];

const asked: (readonly string[])[] = [];
const blackBox = (scores: (count: number) => Float32Array): Reward => ({
  name: 'mine', description: '', range: [0, 1], differentiable: false,
  async score(_images: HostTensor, prompts: readonly string[]) {
    asked.push(prompts);
    return scores(prompts.length);
  },
});

/** A reward with a frozen weight, which also reads the prompts. */
function promptedReward(): Reward {
  const [tint, lengths] = [weight('mine/tint', [1, 3, 1, 1]), input('mine/lengths', [2])];
  return {
    name: 'mine', description: '', range: [0, 1], differentiable: true,
    weights: new Map([['mine/tint', host(Float32Array.of(3, -2, 1), [1, 3, 1, 1])]]),
    trace: (images) => mul(sum(square(mul(images, tint)), { axes: [1, 2, 3] }), lengths),
    feeds: async (prompts) => ({ 'mine/lengths': host(Float32Array.from(prompts, (p) => p.charCodeAt(2) * 1e-5), [2]) }),
  };
}

/** Equal but for rounding, relative to the largest. */
function expectNear(actual: Iterable<number | bigint>, expected: Iterable<number | bigint>): void {
  const [a, b] = [Array.from(actual, Number), Array.from(expected, Number)];
  const largest = (values: readonly number[]): number => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  expect(largest(b)).toBeGreaterThan(0);
  expect(largest(b.map((v, i) => v - a[i]!))).toBeLessThan(2e-5 * largest(b));
}

const opened: PipelineTask[] = [];
afterAll(async () => {
  for (const task of opened) await task.release();
});

async function open(reward: Reward, guidance = 3): Promise<PipelineTask & { counts: Counts }> {
  const task = await openPipelineTask(pipeline, {
    microbatch: 2, seed: 0, process, plan: ddim(process, 2, { stepsOffset: 1 }), guidance, negativePrompt: '', height: 64, width: 64,
    adaptation: { kind: 'lora', options: { rank: 2, targets: ['to_q', 'to_k', 'to_v', 'to_out.0'] } },
    reward, checkpointing: false, compile: { device: 'cpu', threads: 1 },
  });
  opened.push(task);
  const counting = counted(task);
  return { ...counting.task, counts: counting.counts };
}

const noiseFor = (task: PipelineTask): HostTensor =>
  samplesOf(task, normal({ seed: 1, stream: 'x', step: 0 }, 0, 2 * sampleSize(task)));

describe('a reward that breaks its contract is named', () => {
  test.each([
    ['a score that is not a number', () => Float32Array.of(0.5, NaN), /reward mine .*(NaN|finite)/],
    ['too few scores', () => Float32Array.of(0.5), /reward mine returned 1 scores; it must return one for each of 2/],
  ])('%s', async (_, scores, message) => {
    const task = await open(blackBox(scores));
    await expect(task.reward.score(noiseFor(task), PROMPTS)).rejects.toThrow(message);
    expect(task.counts.rewardQueries).toBe(0);
  });

  test('a gradient that a black box has not', async () => {
    const task = await open(blackBox((n) => new Float32Array(n)));
    await expect(task.reward.gradient(noiseFor(task), PROMPTS)).rejects.toThrow(/mine is a black box/);
  });
});

test('rewards get the prompts of the images they score, and each query is counted', async () => {
  const task = await open(blackBox((n) => new Float32Array(n)));
  asked.length = 0;
  await task.reward.score(noiseFor(task), ['first', 'second']);
  expect(asked).toEqual([['first', 'second']]);
  expect(task.counts.rewardQueries).toBe(2);
});

test('a rewarded call is the separate calls: weights, prompts and all', async () => {
  const task = await open(promptedReward());
  for (const [name, t] of task.parameters) {
    (t.data as Float32Array).set(normal({ seed: 2, stream: name, step: 0 }, 0, t.data.length).map((v) => 0.1 * v));
  }
  const [x, step] = [noiseFor(task), task.plan.steps[1]!];
  const call = await openRewardedCall(task, { byX: true });
  const result = await call.run(x, step, PROMPTS);
  expect(task.counts).toEqual({ rewardQueries: 2, denoiserCalls: 4 }); // guided
  const [rollouts, backprop] = [await openRollouts(task), await openBackprop(task)];
  const output = await rollouts.predict(x, step, PROMPTS);
  const sample = samplesOf(task, takeStep(step, x.data as Float32Array, output.data as Float32Array));
  const { score, gradient } = await task.reward.gradient(sample, PROMPTS);
  expectNear(result.score, score);
  expect(score[0]).not.toBeCloseTo(score[1]!, 3);
  expect(result.loss).toBeCloseTo(-(score[0]! + score[1]!) / 2, 4);
  const pulled = await backprop.network(x, step, perItem(task, gradient, () => -step.meanFromOutput / 2), PROMPTS);
  expectNear(result.byX!.data, combine([1, pulled.x.data as Float32Array], [-step.meanFromX / 2, gradient.data as Float32Array]));
  // All as one vector: queries and keys have no gradient but rounding where attention sees a single place.
  const flat = (gradients: ReadonlyMap<string, HostTensor>): number[] =>
    [...task.parameters.keys()].flatMap((name) => Array.from(gradients.get(name)!.data, Number));
  expectNear(flat(result.gradients), flat(pulled.parameters));
  for (const executable of [call, rollouts, backprop]) await executable.release();
});

describe('before training', async () => {
  const task = await open(blackBox((n) => new Float32Array(n)));
  const [x, step] = [input('x', [2, ...task.sampleShape]), stepInput('step', 2)];
  const flow = task.auxiliary('flow');
  const executable = await task.compile({
    tuned: task.network(x, step, 'tuned'),
    reference: task.network(x, step, 'reference'),
    unguided: task.network(x, step, 'tuned', { guided: false }),
    flow: flow.output(x, step),
  });
  const feeds = { x: noiseFor(task), step: stepFeed([task.plan.steps[0]!, task.plan.steps[1]!]) };
  const run = () => executable.run({ ...feeds, ...Object.fromEntries(flow.parameters) }, PROMPTS);

  test('the tuned network is the reference, and the auxiliary network is zero', async () => {
    const { tuned, reference, unguided, flow: zero } = await run();
    expect(tuned.data).toEqual(reference.data);
    expect(unguided.data).not.toEqual(tuned.data);
    expect(Math.max(...(zero.data as Float32Array).map(Math.abs))).toBe(0);
  });

  test('a change of the adapter changes the tuned network alone', async () => {
    const up = [...task.parameters].find(([name]) => /up|lora_B|\.b$/i.test(name)) ?? [...task.parameters].at(-1)!;
    const before = await run();
    (up[1].data as Float32Array).fill(0.1);
    const after = await run();
    expect(after.tuned.data).not.toEqual(before.tuned.data);
    expect(after.reference.data).toEqual(before.reference.data);
    (up[1].data as Float32Array).fill(0);
  });
});

test('the auxiliary network reads the prompt', async () => {
  const task = await open(blackBox((n) => new Float32Array(n)));
  const [x, step] = [input('x', [2, ...task.sampleShape]), stepInput('step', 2)];
  const net = task.auxiliary('reads');
  const executable = await task.compile({ reads: net.output(x, step) });
  for (const [name, t] of net.parameters) if (name.includes('conv_out.weight')) (t.data as Float32Array).fill(0.1); // zero at first
  const feeds = { x: noiseFor(task), step: stepFeed([task.plan.steps[0]!, task.plan.steps[0]!]), ...Object.fromEntries(net.parameters) };
  const [one, other] = [await executable.run(feeds, PROMPTS), await executable.run(feeds, [...PROMPTS].toReversed())];
  expect(one.reads.data).not.toEqual(other.reads.data);
});

test('the auxiliary network fits models whose heads do not divide its channels', () => {
  // SD 2.x and SDXL have 5, 10 and 20 heads; a fifth of their channels is 64, 128 and 256.
  const unet = { ...pipeline.denoiser.config as UNetConfig, block_out_channels: [320, 640], attention_head_dim: [5, 10], norm_num_groups: 32 };
  const { parameters, output } = auxiliaryNetwork({ ...pipeline, denoiser: { ...pipeline.denoiser, config: unet } }, 'flow', conditionInputs(pipeline, 2), 0);
  const x = input('x', [2, unet.in_channels, 8, 8]);
  expect(output(x, stepInput('step', 2)).shape).toEqual(x.shape);
  expect(parameters.get('flow/conv_in.weight')!.shape[0]).toBe(64);
});

test('guidance is counted as two calls; up to 1 it is none, and the prompt is still read', async () => {
  const outputs: HostTensor[] = [];
  for (const [guidance, calls] of [[3, 8], [1, 4], [0, 4]] as const) {
    const task = await open(blackBox((n) => new Float32Array(n)), guidance);
    const rollouts = await openRollouts(task);
    outputs.push((await rollouts.rollout(PROMPTS, 0)).x.at(-1)!);
    expect(task.counts.denoiserCalls).toBe(calls); // 2 samples, 2 steps
    await rollouts.release();
  }
  const [guided, one, zero] = outputs as [HostTensor, HostTensor, HostTensor];
  expect(zero.data).toEqual(one.data);
  expect(guided.data).not.toEqual(one.data);
});

/** @file What methods share that learn from their own finished samples by noising them: DiffusionNFT, AWM. */
import { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import { normal, permutation } from '../random/random.js';
import { addNoise } from '../schedulers/forward-process.js';
import type { Step } from '../schedulers/plan.js';
import { groupAdvantages } from './advantage.js';
import { meanOfParts } from './loss-graph.js';
import type { LossValue } from './loss-graph.js';
import type { Update } from './method.js';
import type { Rollouts } from './rollout.js';
import { samplesOf, sampleSize } from './task.js';
import type { Task } from './task.js';

/** Options that such methods have in common. */
export const groupOptions = {
  group: z.int().min(2).default(8)
    .describe('Samples of each prompt in a round; 24 in the papers.'),
  deviation: z.enum(['round', 'group', 'unbiased']).default('round')
    .describe('What (r − mean of the group) is divided by: the deviation of the round\'s rewards, of the group\'s, or the unbiased estimate of that.'),
  advantageClip: z.number().positive().default(5)
    .describe('Advantages are limited to ± this, and divided by it.'),
};

const optionsSchema = z.object(groupOptions);

/** A round's finished samples: `group` for each of its prompts. */
export interface OwnGroup {
  /** By copy, [B, C, h, w] each. */
  readonly samples: readonly HostTensor[];
  /** By copy, [B] each. */
  readonly rewards: readonly Float32Array[];
  /** In [−1, 1], by copy, [B] each. */
  readonly advantages: readonly Float32Array[];
}

export async function sampleGroup(
  task: Task, rollouts: Rollouts, prompts: readonly string[], round: number, { group, deviation, advantageClip }: z.infer<typeof optionsSchema>,
): Promise<OwnGroup> {
  const samples: HostTensor[] = [];
  const rewards: Float32Array[] = [];
  for (let copy = 0; copy < group; copy++) {
    samples.push((await rollouts.rollout(prompts, round, { copy })).x.at(-1)!);
    rewards.push(await task.reward.score(samples[copy]!, prompts));
  }
  const all = groupAdvantages(rewards.flatMap((r) => [...r]), samples.flatMap(() => prompts), deviation, advantageClip);
  const rows = prompts.length;
  return { samples, rewards, advantages: rewards.map((_, copy) => all.slice(copy * rows, (copy + 1) * rows).map((a) => a / advantageClip)) };
}

/** Levels that each item of a copy is noised to, and the noise: the sampler's own, in an order of the item's. */
export interface Noising {
  readonly steps: readonly Step[];
  readonly noise: HostTensor; // [B, C, h, w]
}

/**
 * `times` noisings of every item of a copy.
 *
 * @param from steps that they are drawn from, without repetition; in stretches of equal length if `stratified`
 */
export function noisings(
  task: Task, from: readonly Step[], times: number, { stream, round, copy, rows, stratified }: {
    stream: string; round: number; copy: number; rows: number; stratified: boolean;
  },
): Noising[] {
  const key = { seed: task.seed, stream, step: round };
  const count = Math.min(times, from.length);
  const chosen = Array.from({ length: rows }, (_, b) => {
    const item = copy * rows + b;
    if (!stratified) return [...permutation(key, item, from.length)].slice(0, count);
    const border = (j: number): number => Math.floor((j * from.length) / count);
    return Array.from({ length: count }, (__, j) => border(j) + permutation({ ...key, stream: `${stream} ${j}` }, item, border(j + 1) - border(j))[0]!);
  });
  return Array.from({ length: count }, (_, j) => ({
    steps: chosen.map((indices) => from[indices[j]!]!),
    noise: samplesOf(task, normal({ ...key, stream: `${stream} noise ${j}` }, copy, rows * sampleSize(task))),
  }));
}

/** Each item of x0 at its own level, on the host. */
export function noised(x0: HostTensor, { steps, noise }: Noising): HostTensor {
  const [clean, z] = [x0.data as Float32Array, noise.data as Float32Array];
  const size = clean.length / steps.length;
  const out = new Float32Array(clean.length);
  steps.forEach(({ from }, b) => {
    const row = (values: Float32Array): Float32Array => values.subarray(b * size, (b + 1) * size);
    out.set(addNoise(from, row(clean), row(z)), b * size);
  });
  return { ...x0, data: out };
}

/**
 * The update that a round's samples make: the mean of what every noising of each of them teaches.
 *
 * @param said the policy that each lesson compares with; asked without guidance for what it makes of the noised samples
 */
export async function groupUpdate(
  task: Task, { samples, rewards }: OwnGroup, said: Rollouts, prompts: readonly string[],
  { stream, round, levels, times, stratified }: { stream: string; round: number; levels: readonly Step[]; times: number; stratified: boolean },
  lesson: (copy: number, x0: HostTensor, x: HostTensor, output: HostTensor, noising: Noising) => Promise<LossValue<never>>,
): Promise<Update> {
  const total = meanOfParts();
  for (const [copy, x0] of samples.entries()) {
    for (const noising of noisings(task, levels, times, { stream, round, copy, rows: prompts.length, stratified })) {
      const x = noised(x0, noising);
      total.add(await lesson(copy, x0, x, await said.predict(x, noising.steps, prompts), noising));
    }
  }
  return { ...total.mean(), rewards: Float32Array.from(rewards.flatMap((r) => [...r])) };
}

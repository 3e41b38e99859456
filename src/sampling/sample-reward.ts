/** @file The reward of samples: latents are decoded and scored, in one graph with the decoder where the reward is one. */
import type { HostTensor } from '../graph/dtype.js';
import { grad } from '../graph/grad.js';
import { sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import type { Compiler, SampleReward, TaskExecutable } from '../methods/task.js';
import { cutsOf } from '../methods/work.js';
import type { Work } from '../methods/work.js';
import { RewardError } from '../rewards/reward.js';
import type { BlackBoxReward, DifferentiableReward, PartScores } from '../rewards/reward.js';
import { takeRows } from '../rewards/rows.js';

/** An executable that is made on first use. */
function once<O extends string>(make: () => Promise<TaskExecutable<O>>) {
  let made: Promise<TaskExecutable<O>> | null = null;
  return {
    get: (): Promise<TaskExecutable<O>> => (made ??= make()),
    release: async (): Promise<void> => (await made?.catch(() => null))?.release(),
  };
}

/** Told of scores, and of what each reward of a sum gave for the same images, by name. */
export type Hear = (scores: Float32Array, parts: ReadonlyMap<string, Float32Array>) => void;

/**
 * What the rewards of a sum give by themselves, out of graphs of the methods' own: a score that is an output of one brings
 * its parts along as further outputs, which the method does not see. Without anybody who hears, graphs stay as they are.
 */
export function hearing(hear: Hear | null) {
  /** By the traced score. */
  const traced = new Map<Tensor, ReadonlyMap<string, Tensor>>();
  /** By the numbers of a score. */
  const given = new WeakMap<object, ReadonlyMap<string, Float32Array>>();
  const partName = (output: string, part: string): string => `${output} of ${part}`;
  const partsOf = (outputs: Readonly<Record<string, Tensor>>) =>
    Object.entries(outputs).flatMap(([name, tensor]) => [...traced.get(tensor) ?? []].map(([part, t]) => ({ name, part, t })));
  return {
    traced(reward: DifferentiableReward, images: Tensor): Tensor {
      const parts = new Map<string, Tensor>();
      const score = reward.trace(images, parts);
      if (hear) traced.set(score, parts);
      return score;
    },
    withParts: <O extends string>(outputs: Readonly<Record<O, Tensor>>): Readonly<Record<O, Tensor>> =>
      ({ ...outputs, ...Object.fromEntries(partsOf(outputs).map(({ name, part, t }) => [partName(name, part), t])) }),
    /** Takes the parts out of the results again. */
    kept<O extends string>(outputs: Readonly<Record<O, Tensor>>, run: TaskExecutable<O>['run']): TaskExecutable<O>['run'] {
      const parts = partsOf(outputs);
      if (parts.length === 0) return run;
      return async (feeds, prompts) => {
        const results = await run(feeds, prompts) as Record<string, HostTensor>;
        for (const name of new Set(parts.map((p) => p.name))) {
          const own = parts.filter((p) => p.name === name).map(({ part }) => [part, results[partName(name, part)]!.data as Float32Array] as const);
          given.set(results[name]!.data, new Map(own));
        }
        return Object.fromEntries(Object.keys(outputs).map((name) => [name, results[name]!])) as Record<O, HostTensor>;
      };
    },
    tell(scores: Float32Array): void {
      const parts = given.get(scores);
      if (parts) hear?.(scores, parts);
    },
  };
}

interface Asking {
  readonly microbatch: number;
  readonly record: SampleReward['record'];
  readonly work: Work;
  readonly hear: Hear | null;
  readonly signal: AbortSignal | undefined;
}

/** The reward of latents by decoding them and asking the black box. */
export function blackBoxReward(
  reward: BlackBoxReward, decode: (samples: HostTensor) => Promise<HostTensor>, { microbatch, record, work, hear, signal }: Asking,
): SampleReward {
  const refuse = (): never => {
    throw new RewardError(`reward ${reward.name} is a black box: it has no gradient. Use ddpo, d3po, dpo or sharpen-rlhf`);
  };
  return {
    differentiable: false,
    async score(samples, prompts) {
      const scores = new Float32Array(prompts.length);
      const parts = new Map<string, Float32Array>();
      // No more images at a time than a graph makes: they are large.
      await work.executor(cutsOf(prompts.length, microbatch, work.call()), async ({ from, count }): Promise<PartScores> => {
        const own = prompts.slice(from, from + count);
        const images = await decode(takeRows(samples, from, count));
        const { total, parts: each } = hear && reward.scoreParts
          ? await reward.scoreParts(images, own) : { total: await reward.score(images, own, signal), parts: new Map<string, Float32Array>() };
        return { total: record(total, own), parts: each };
      }, ({ from }, some) => {
        scores.set(some.total, from);
        for (const [name, each] of some.parts) {
          if (!parts.has(name)) parts.set(name, new Float32Array(prompts.length));
          parts.get(name)!.set(each, from);
        }
      });
      hear?.(scores, parts);
      return scores;
    },
    gradient: async () => refuse(),
    trace: refuse,
    feeds: async () => refuse(),
    record,
  };
}

/** The reward of latents with decoder and reward in one graph, `score` [B] of `latents`. */
export function openTracedReward(
  reward: DifferentiableReward, latents: Tensor, score: Tensor, trace: (latents: Tensor) => Tensor, compileGraph: Compiler['compile'],
  record: SampleReward['record'],
): { reward: SampleReward; release(): Promise<void> } {
  const gradient = grad(sum(score), [latents])[0]!;
  // Compiled when first asked for: searches never need the gradient, some methods neither.
  const both = once(() => compileGraph({ score, gradient }, { feeds: (prompts) => reward.feeds(prompts) }));
  const forward = once(() => compileGraph({ score }, { feeds: (prompts) => reward.feeds(prompts) }));
  return {
    reward: {
      differentiable: true,
      async score(samples, prompts) {
        const result = await (await forward.get()).run({ latents: samples }, prompts);
        return record(result.score.data, prompts);
      },
      async gradient(samples, prompts) {
        const result = await (await both.get()).run({ latents: samples }, prompts);
        return { score: record(result.score.data, prompts), gradient: result.gradient };
      },
      trace,
      feeds: (prompts) => reward.feeds(prompts),
      record,
    },
    async release() {
      await both.release();
      await forward.release();
    },
  };
}

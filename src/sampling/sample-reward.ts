/** @file The reward of samples: latents are decoded and scored, in one graph with the decoder where the reward is one. */
import type { HostTensor } from '../graph/dtype.js';
import { grad } from '../graph/grad.js';
import { sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import type { Compiler, SampleReward, TaskExecutable } from '../methods/task.js';
import { cutsOf } from '../methods/work.js';
import type { Work } from '../methods/work.js';
import { RewardError } from '../rewards/reward.js';
import type { BlackBoxReward, DifferentiableReward } from '../rewards/reward.js';
import { takeRows } from '../rewards/rows.js';

/** An executable that is made on first use. */
function once<O extends string>(make: () => Promise<TaskExecutable<O>>) {
  let made: Promise<TaskExecutable<O>> | null = null;
  return {
    get: (): Promise<TaskExecutable<O>> => (made ??= make()),
    release: async (): Promise<void> => (await made?.catch(() => null))?.release(),
  };
}

/** The reward of latents by decoding them and asking the black box. */
export function blackBoxReward(
  reward: BlackBoxReward, decode: (samples: HostTensor) => Promise<HostTensor>, microbatch: number, record: SampleReward['record'],
  work: Work, signal: AbortSignal | undefined,
): SampleReward {
  const refuse = (): never => {
    throw new RewardError(`reward ${reward.name} is a black box: it has no gradient. Use ddpo, d3po, dpo or sharpen-rlhf`);
  };
  return {
    differentiable: false,
    async score(samples, prompts) {
      const scores = new Float32Array(prompts.length);
      // No more images at a time than a graph makes: they are large.
      await work.executor(cutsOf(prompts.length, microbatch, work.call()), async ({ from, count }) => {
        const own = prompts.slice(from, from + count);
        return record(await reward.score(await decode(takeRows(samples, from, count)), own, signal), own);
      }, ({ from }, some) => scores.set(some, from));
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
  reward: DifferentiableReward, latents: Tensor, score: Tensor, decode: (latents: Tensor) => Tensor, compileGraph: Compiler['compile'],
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
      trace: (samples) => reward.trace(decode(samples)),
      feeds: (prompts) => reward.feeds(prompts),
      record,
    },
    async release() {
      await both.release();
      await forward.release();
    },
  };
}

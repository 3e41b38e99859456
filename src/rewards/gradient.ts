/** @file A reward with its gradient by the pixels, as one compiled computation. */
import type { HostTensor } from '../graph/dtype.js';
import { grad } from '../graph/grad.js';
import { sum } from '../graph/ops/reduce.js';
import { input } from '../graph/tensor.js';
import { compile } from '../runtime/compile.js';
import type { Execution } from '../runtime/compile.js';
import { checkBatch, checkScores, RewardError } from './reward.js';
import type { DifferentiableReward } from './reward.js';

export interface ScoreWithGradient {
  /** [B] */
  readonly score: Float32Array;
  /** d(Σ score)/d images; images do not share a score, so row i is image i's own. float32 [B, 3, H, W] */
  readonly gradient: HostTensor;
}

export interface GradientScorer {
  readonly reward: DifferentiableReward;
  /** Images scored so far: the literature's reward queries. */
  readonly queries: number;
  /**
   * @param images float32 [B, 3, H, W] in [0, 1], of the compiled shape
   * @param prompts the prompts of these images, in order
   * @throws RewardError for another shape, missing prompts, or a score or gradient that is not finite
   */
  run(images: HostTensor, prompts: readonly string[]): Promise<ScoreWithGradient>;
  release(): Promise<void>;
}

/** Compiles `reward` and its gradient for images of one shape [B, 3, H, W]. */
export async function openGradient(
  reward: DifferentiableReward,
  shape: readonly [batch: number, channels: 3, height: number, width: number],
  options: Execution = {},
): Promise<GradientScorer> {
  const images = input('images', shape);
  const score = reward.trace(images);
  const gradient = grad(sum(score), [images])[0]!;
  const executable = await compile({ outputs: { score, gradient } }, { ...options, weights: reward.weights });
  let queries = 0;
  return {
    reward,
    get queries() {
      return queries;
    },
    async run(values, prompts) {
      checkBatch(reward.name, values, prompts);
      const result = await executable.run({ images: values, ...(await reward.feeds(prompts)) });
      const scores = result.score.data;
      checkScores(reward.name, scores, prompts);
      if ((result.gradient.data as Float32Array).some((g) => !Number.isFinite(g))) {
        throw new RewardError(`reward ${reward.name} has a gradient that is not finite, for "${prompts.join('", "')}"`);
      }
      queries += prompts.length;
      return { score: scores, gradient: result.gradient };
    },
    release: () => executable.release(),
  };
}

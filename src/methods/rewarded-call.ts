/**
 * @file A network call, the reward of the sample it leads to, and the way back, in one graph: the network goes forward
 * once where prediction, reward and backward pass on their own would take it forward twice. Its session holds memory of
 * its own, so it pays where most updates need it: not for DRTune, which seldom trains the call that is rewarded.
 */
import type { HostTensor } from '../graph/dtype.js';
import { neg } from '../graph/ops/arithmetic.js';
import { mean } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { SamplingError } from '../schedulers/errors.js';
import type { Step } from '../schedulers/plan.js';
import { stepFeed, takeStep } from '../schedulers/step.js';
import { openLoss } from './loss-graph.js';
import { forItems } from './rollout.js';
import { sampleInput, samplesOf, stepsInput } from './task.js';
import type { Task } from './task.js';

export interface RewardedCallOptions {
  /** From scores [B] to losses [B], whose mean is descended; −r by default. */
  readonly loss?: (score: Tensor) => Tensor;
  /** Whether the gradient by x is wanted too. */
  readonly byX?: boolean;
}

export interface Rewarded {
  /** [B] */
  readonly score: Float32Array;
  readonly loss: number;
  /** What was scored: x' [B, C, h, w]. */
  readonly sample: HostTensor;
  /** ∂ loss / ∂ θ by input name. */
  readonly gradients: Map<string, HostTensor>;
  /** ∂ loss / ∂ x [B, C, h, w], or null if it was not wanted. */
  readonly byX: HostTensor | null;
}

export interface RewardedCall {
  /**
   * Takes a step from x, x' = meanFromX·x + meanFromOutput·ε_θ(x) + std·z, and scores x'. To score x̂0, take `toX0(step)`.
   *
   * @param x [B, C, h, w]
   * @param noise z, in x's shape; may be left out if the step is deterministic
   */
  run(x: HostTensor, step: Step, prompts: readonly string[], noise?: HostTensor): Promise<Rewarded>;
  release(): Promise<void>;
}

/** The gradients by parameters and by x come out of one backward pass; x takes part under this name. */
const X = 'x';

/** Compiles a rewarded call. Its reward must be differentiable. */
export async function openRewardedCall(
  task: Task, { loss = neg, byX = false }: RewardedCallOptions = {},
): Promise<RewardedCall> {
  const [x, noise, step] = [sampleInput(task, X), sampleInput(task, 'noise'), stepsInput(task, 'step')];
  const output = task.network(x, step, 'tuned');
  const sample = takeStep(step, x, output, { noise });
  const score = task.reward.trace(sample);
  const graph = await openLoss(task, mean(loss(score)), {
    over: 'mean', extras: { score, sample }, calls: task.callsPerSample, feeds: task.reward.feeds, ...(byX && { byItem: new Map([[X, x]]) }),
  });

  return {
    async run(at, taken, prompts, z) {
      if (!z && taken.std !== 0) throw new SamplingError('this step needs noise, and got none');
      const still = samplesOf(task, new Float32Array(at.data.length));
      const feeds = { [X]: at, step: stepFeed(forItems(prompts.length, taken)), noise: z ?? still };
      const { loss: value, gradients, extras } = await graph.run(feeds, prompts);
      const gradientByX = gradients.get(X) ?? null;
      gradients.delete(X);
      return {
        score: task.reward.record(extras.score.data, prompts),
        loss: value,
        sample: extras.sample,
        gradients,
        byX: gradientByX,
      };
    },
    release: () => graph.release(),
  };
}

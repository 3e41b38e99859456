/** @file The loss that diffusion models are trained with: the error of the network's answer for noised samples. */
import type { HostTensor } from '../graph/dtype.js';
import { mul, square, sub } from '../graph/ops/arithmetic.js';
import { flatten } from '../graph/ops/layout.js';
import { mean } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { normal } from '../random/random.js';
import { ddimStep } from '../schedulers/ddim.js';
import { addNoise, predictionTarget } from '../schedulers/forward-process.js';
import type { Step } from '../schedulers/plan.js';
import { randomTimes } from '../schedulers/process.js';
import { stepFeed } from '../schedulers/step.js';
import { openLoss } from './loss-graph.js';
import type { LossGraph } from './loss-graph.js';
import { sampleInput, samplesOf, sampleSize, stepsInput } from './task.js';
import type { Task, PolicyRole } from './task.js';

/**
 * mean_{CHW} ‖target − network(signal·clean + noise·ε)‖² per item [B], without guidance; the target is ε for models that
 * predict it.
 *
 * @param clean x0 [B, C, h, w], as is `noise`, ε
 */
export function denoisingError(task: Task, clean: Tensor, noise: Tensor, step: Step<Tensor>, which: PolicyRole): Tensor {
  const answer = task.network(addNoise(step.from, clean, noise), step, which, { guided: false });
  const target = predictionTarget(task.process.predictionType, step.from, clean, noise);
  return mean(flatten(square(sub(target, answer))), { axes: [1] });
}

/** Training times, uniform over all of the process's, and noise: one each for every item. */
export interface Corruption {
  readonly steps: readonly Step[];
  readonly noise: HostTensor; // [B, C, h, w]
}

/** For `count` items. */
export function drawCorruption(task: Task, count: number, stream: string, round: number): Corruption {
  const key = { seed: task.seed, stream, step: round };
  return {
    // Only the time and its noise level count here; where the step would lead does not.
    steps: randomTimes(task.process, key, 0, count).map((t) => ddimStep(task.process, t, -1)),
    noise: samplesOf(task, normal(key, 1, count * sampleSize(task))),
  };
}

/** weight · the mean of `denoisingError` over a round, compiled. */
export async function openDenoisingLoss(task: Task, weight = 1): Promise<{
  run(clean: HostTensor, corruption: Corruption, prompts: readonly string[]): ReturnType<LossGraph<never>['run']>;
  release(): Promise<void>;
}> {
  const error = denoisingError(task, sampleInput(task, 'clean'), sampleInput(task, 'noise'), stepsInput(task, 'step'), 'tuned');
  const graph = await openLoss(task, mul(mean(error), weight), { over: 'mean', calls: 1 });
  return {
    run: (clean, { steps, noise }, prompts) => graph.run({ clean, noise, step: stepFeed(steps) }, prompts),
    release: () => graph.release(),
  };
}

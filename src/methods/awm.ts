/** @file AWM: the denoising error of own samples, weighed by how much better than the others of their prompt they are. */
import { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { stopGradient } from '../graph/grad.js';
import { add, mul, neg, pow, square, sub } from '../graph/ops/arithmetic.js';
import { flatten, reshape } from '../graph/ops/layout.js';
import { mean } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { addNoise, predictionTarget } from '../schedulers/forward-process.js';
import { stepFeed } from '../schedulers/step.js';
import { openLoss } from './loss-graph.js';
import type { Method } from './method.js';
import { groupOptions, groupUpdate, sampleGroup } from './own-group.js';
import type { Noising } from './own-group.js';
import { mixInto } from './policy.js';
import { openRollouts } from './rollout.js';
import { itemInput, sampleInput, stepsInput } from './task.js';
import type { Task } from './task.js';

const options = z.strictObject({
  ...groupOptions,
  weighting: z.enum(['ghuber', 'noise', 'uniform']).default('ghuber')
    .describe('log p = −ℓ of the error ℓ (`uniform`), −noise·ℓ, or −noise·ℓ^power/power, which damps what is far off already.'),
  power: z.number().positive().max(1).default(0.25)
    .describe('Of `ghuber`.'),
  times: z.int().positive().default(6)
    .describe('Levels of noise that each sample is learnt at: the sampler\'s own but the first and the last tenth, one from each stretch.'),
  kl: z.number().nonnegative().default(1e-3)
    .describe('Weight of the pull to the model before training: the squared distance of the outputs. 1e-4 to 3e-3.'),
  averageKl: z.number().nonnegative().default(1)
    .describe('Weight of the pull to a running average of the model: what keeps bad samples from being pushed without end.'),
  averageDecay: z.number().min(0).max(1).default(0.3)
    .describe('The average keeps min(this, round/1000) of itself after each round.'),
});

/**
 * Xue et al. 2025: policy gradient with the denoising error as log-likelihood,
 *
 *     −A·log p + kl·‖f_θ − f_ref‖² + averageKl·‖f_θ − f_average‖²,
 *
 * on samples of the present policy, one update a round, so that the published ratio of likelihoods is 1 and its clipping
 * never acts. Guidance acts in sampling alone; the paper has none. Published beside: 14 steps, AdamW lr 3e-4, LoRA of rank 32.
 */
export const awm: Method<z.infer<typeof options>> = {
  name: 'awm',
  summary: 'the denoising error of own samples, weighed by their advantage; any reward',
  paper: 'Xue et al. 2025, Advantage Weighted Matching: Aligning RL with Pretraining in Diffusion Models, arXiv 2509.25050',
  options,
  needs: { differentiableReward: false, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, opts) {
    const { times, averageDecay } = opts;
    const average = task.copy('average');
    const sampler = await openRollouts(task);
    const slow = await openRollouts(task, 'tuned', 'rollout', { values: average, guided: false });
    const loss = await openWeightedMatching(task, opts);
    const { steps } = task.plan;
    const levels = steps.slice(Math.min(1, steps.length - 1), Math.max(2, Math.ceil(0.9 * steps.length)));
    return {
      async *round(prompts, round) {
        if (round > 0) mixInto(average, task.parameters, Math.min(averageDecay, round / 1000));
        const group = await sampleGroup(task, sampler, prompts, round, opts);
        yield groupUpdate(task, group, slow, prompts, { stream: 'awm', round, levels, times, stratified: true },
          (copy, x0, _, said, noising) => loss.run(x0, said, group.advantages[copy]!, noising, prompts));
      },
      async release() {
        await sampler.release();
        await slow.release();
        await loss.release();
      },
    };
  },
};

/** The log-likelihood that an error stands for, [B]; `noise` [B]. */
export function likelihood(error: Tensor, noise: Tensor, { weighting, power }: Pick<z.infer<typeof options>, 'weighting' | 'power'>): Tensor {
  if (weighting === 'uniform') return neg(error);
  if (weighting === 'noise') return neg(mul(error, noise));
  const least = 1e-10; // where the power's derivative would be without end
  return mul(mul(sub(pow(add(error, least), power), least ** power), noise), -1 / power);
}

/** The loss above over a batch of noised samples. */
export async function openWeightedMatching(task: Task, opts: Pick<z.infer<typeof options>, 'weighting' | 'power' | 'kl' | 'averageKl'>) {
  const [clean, noise, said, step] = [sampleInput(task, 'clean'), sampleInput(task, 'noise'), sampleInput(task, 'said'), stepsInput(task, 'step')];
  const advantage = itemInput(task, 'advantage');
  const x = addNoise(step.from, clean, noise);
  const answer = task.network(x, step, 'tuned', { guided: false });
  const target = predictionTarget(task.process.predictionType, step.from, clean, noise);
  const error = mean(flatten(square(sub(target, answer))), { axes: [1] });
  const policy = neg(mean(mul(advantage, likelihood(error, reshape(step.from.noise, [task.microbatch]), opts))));
  const away = mul(mean(square(sub(answer, said))), opts.averageKl);
  const reference = opts.kl > 0 ? stopGradient(task.network(x, step, 'reference', { guided: false })) : null;
  const pulled = reference ? add(away, mul(mean(square(sub(answer, reference))), opts.kl)) : away;
  const graph = await openLoss(task, add(policy, pulled), { over: 'mean', calls: reference ? 2 : 1 });
  return {
    run: (x0: HostTensor, output: HostTensor, weights: Float32Array, { steps, noise: z }: Noising, prompts: readonly string[]) =>
      graph.run({ clean: x0, noise: z, said: output, advantage: host(weights, [weights.length]), step: stepFeed(steps) }, prompts),
    release: () => graph.release(),
  };
}

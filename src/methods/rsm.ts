/** @file RSM: the score of each step regressed on the prior's plus the gradient of reward at the finished sample. */
import { z } from 'zod';
import { mean } from '../graph/ops/reduce.js';
import { square, sub } from '../graph/ops/arithmetic.js';
import type { Tensor } from '../graph/tensor.js';
import { stepFeed, transitionMean } from '../schedulers/step.js';
import { score } from '../schedulers/transition.js';
import { openLoss } from './loss-graph.js';
import type { Method } from './method.js';
import { perItem } from './reward-loss.js';
import { chainOptions, openChains, shiftedReferenceLoss, sumOfTerms } from './shifted-reference.js';
import { sampleInput, stepsInput } from './task.js';
import type { Task } from './task.js';

const options = z.strictObject({
  beta: z.number().nonnegative().default(5e5)
    .describe('β: the shift is β·∇r; 5e5 for HPSv2.1 (simple_res-nabladb_sd_hps_usez0_basesnr.yaml).'),
  ...chainOptions,
  trust: chainOptions.trust.default(1e2),
  fraction: chainOptions.fraction.default(0.2),
});

/**
 * Lee et al. 2026, the redesign of Residual ∇-DB (their Fig. 5c–d): on transitions x → x' of trajectories sampled with η = 1,
 *
 *     L = ‖σ·[∇_{x'} log P_θ(x'|x) − ∇_{x'} log P_ref(x'|x) − β∇r(x_0)]‖² + λ‖ε_θ − ε_θ†‖²
 *
 * with ∇r at the trajectory's own finished sample x_0: one backward pass through the reward for a whole trajectory, none
 * through the network. The factor σ evens out the steps. Published beside: AdamW lr 4e-3, S = 50, guidance 5, LoRA rank 8.
 */
export const rsm: Method<z.infer<typeof options>> = {
  name: 'rsm',
  summary: 'reward score matching: the score of each step shifted by the reward\'s gradient at the finished sample',
  paper: 'Lee et al. 2026, Reward Score Matching: Unifying Reward-based Fine-tuning for Flow and Diffusion Models, arXiv 2604.17415',
  options,
  needs: { differentiableReward: true, density: true },
  sampling: { noise: 1, noisyEnd: true },
  async create(task, opts) {
    const chains = await openChains(task, opts);
    const loss = await openMatching(task, opts.trust);
    return {
      memory: chains.memory,
      async *round(prompts, round) {
        const chain = await chains.sample(prompts, round);
        if (!chain) return;
        const shift = perItem(task, chain.finished.gradient, () => opts.beta);
        yield* chains.learn(chain, ({ x, next, output, steps }) =>
          loss.run({ x, next, output, shift, step: stepFeed(steps) }, chain.whole.prompts));
      },
      async release() {
        await chains.release();
        await loss.release();
      },
    };
  },
};

/** The loss of a batch of transitions; `shift` [B, C, h, w] is β∇r. */
export function openMatching(task: Task, trust: number) {
  const [x, next, output, shift] = ['x', 'next', 'output', 'shift'].map((name) => sampleInput(task, name)) as [Tensor, Tensor, Tensor, Tensor];
  const step = stepsInput(task, 'step');
  const tuned = task.network(x, step, 'tuned');
  const [policy, reference] = [tuned, task.network(x, step, 'reference')]
    .map((answer) => score(step, next, transitionMean(step, x, answer))) as [Tensor, Tensor];
  const terms = { matching: shiftedReferenceLoss(policy, reference, shift, step.std), trust: mean(square(sub(tuned, output))) };
  return openLoss<string>(task, sumOfTerms(terms, { matching: 1, trust }), { over: 'mean', extras: terms, calls: 2 * task.callsPerSample });
}

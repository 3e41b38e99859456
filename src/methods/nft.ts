/** @file DiffusionNFT: two policies mirrored at an old one, one regressed on good samples, the other on bad ones. */
import { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { stopGradient } from '../graph/grad.js';
import { abs, add, div, maximum, mul, square, sub } from '../graph/ops/arithmetic.js';
import { flatten } from '../graph/ops/layout.js';
import { mean } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { predictX0, stepFeed } from '../schedulers/step.js';
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
  beta: z.number().positive().default(1)
    .describe('β: distance of the two policies from the old one, as a share of the new one\'s; 1, or 0.1 for several rewards.'),
  kl: z.number().nonnegative().default(1e-4)
    .describe('Weight of the pull to the model before training: the squared distance of the outputs.'),
  times: z.int().positive().nullable().default(null)
    .describe('Levels of noise that each sample is learnt at, of the sampler\'s own; null for all.'),
  selfNormalise: z.boolean().default(true)
    .describe('Each error is divided by the size of x̂0\'s distance from the sample, as published, so that levels count alike.'),
  decay: z.number().nonnegative().default(1e-3)
    .describe('The old policy follows the new one by 1 − min(decay · round, decayMax) after each round (types 1: 1e-3, 0.5; 2: slower after 75 rounds).'),
  decayMax: z.number().min(0).max(1).default(0.5)
    .describe('See `decay`; 0 keeps old and new the same at the start of each round.'),
});

/**
 * Zheng et al. 2025. Samples of the old policy, r = ½ + ½·A/clip in [0, 1], noised afresh to levels of the sampler:
 *
 *     clip·mean [r·‖x̂0⁺ − x0‖² + (1 − r)·‖x̂0⁻ − x0‖²]/β + kl·‖f_θ − f_ref‖²
 *     f⁺ = βf_θ + (1 − β)f_old,   f⁻ = (1 + β)f_old − βf_θ
 *
 * so that at f_θ = f_old the gradient is along (2r − 1)(x̂0 − x0). No likelihood, no noise in sampling, no reward gradient.
 * The paper samples without guidance, which U-Nets do not stand (issue 12 of its code): here guidance acts in sampling as the
 * run says, and what is trained is the prompt's own branch, which first learns the guided distribution. Published beside:
 * AdamW lr 3e-4, LoRA of rank 32.
 */
export const nft: Method<z.infer<typeof options>> = {
  name: 'nft',
  summary: 'own samples noised again: towards good ones and away from bad ones, between an old policy and the new; any reward',
  paper: 'Zheng et al. 2025, DiffusionNFT: Online Diffusion Reinforcement with Forward Process, arXiv 2509.16117',
  options,
  needs: { differentiableReward: false, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, opts) {
    const { times, decay, decayMax, advantageClip } = opts;
    const old = task.copy('old');
    const sampler = await openRollouts(task, 'tuned', 'rollout', { values: old });
    const before = await openRollouts(task, 'tuned', 'rollout', { values: old, guided: false });
    const loss = await openMirrored(task, { ...opts, scale: advantageClip });
    const { steps } = task.plan;
    const levels = steps.slice(0, Math.max(1, Math.floor(0.99 * steps.length)));
    return {
      async *round(prompts, round) {
        if (round > 0) mixInto(old, task.parameters, Math.min(decay * round, decayMax));
        const group = await sampleGroup(task, sampler, prompts, round, opts);
        const r = group.advantages.map((each) => each.map((a) => 0.5 + a / 2));
        yield groupUpdate(task, group, before, prompts, { stream: 'nft', round, levels, times: times ?? levels.length, stratified: false },
          (copy, x0, x, said, noising) => loss.run(x0, x, said, r[copy]!, noising, prompts));
      },
      async release() {
        await sampler.release();
        await before.release();
        await loss.release();
      },
    };
  },
};

/** The loss above over a batch of noised samples. */
export async function openMirrored(
  task: Task, { beta, kl, selfNormalise, scale }: { beta: number; kl: number; selfNormalise: boolean; scale: number },
) {
  const [clean, x, said, step] = [sampleInput(task, 'clean'), sampleInput(task, 'x'), sampleInput(task, 'said'), stepsInput(task, 'step')];
  const r = itemInput(task, 'r');
  const answer = task.network(x, step, 'tuned', { guided: false });
  const over = (values: Tensor): Tensor => mean(flatten(values), { axes: [1] });
  const error = (output: Tensor): Tensor => {
    const off = sub(predictX0(step, x, output), clean);
    const squares = over(square(off));
    return selfNormalise ? div(squares, maximum(stopGradient(over(abs(off))), 1e-5)) : squares;
  };
  const good = error(add(mul(answer, beta), mul(said, 1 - beta)));
  const bad = error(sub(mul(said, 1 + beta), mul(answer, beta)));
  const regression = mul(mean(add(mul(r, good), mul(sub(1, r), bad))), scale / beta);
  const pull = kl > 0 ? mean(square(sub(answer, stopGradient(task.network(x, step, 'reference', { guided: false }))))) : null;
  const graph = await openLoss(task, pull ? add(regression, mul(pull, kl)) : regression, { over: 'mean', calls: pull ? 2 : 1 });
  return {
    run: (x0: HostTensor, at: HostTensor, output: HostTensor, rewards: Float32Array, { steps }: Noising, prompts: readonly string[]) =>
      graph.run({ clean: x0, x: at, said: output, r: host(rewards, [rewards.length]), step: stepFeed(steps) }, prompts),
    release: () => graph.release(),
  };
}

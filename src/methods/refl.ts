/** @file ReFL: the reward of the clean image predicted at a random late step, through one network call. */
import { z } from 'zod';
import { relu } from '../graph/ops/activation.js';
import { mul, neg, sub } from '../graph/ops/arithmetic.js';
import { integers } from '../random/random.js';
import { pathText } from '../rewards/path-option.js';
import { toX0 } from '../schedulers/step.js';
import { accumulate } from './backprop.js';
import { openCaptioned } from './captioned.js';
import { drawCorruption, openDenoisingLoss } from './denoising-error.js';
import type { Method, Update } from './method.js';
import { openRewardedCall } from './rewarded-call.js';
import { openRollouts } from './rollout.js';

const pretraining = z.strictObject({
  pictures: pathText().nullable().default(null)
    .describe('Folder of captioned images; null for samples of the model before training.'),
  weight: z.number().positive().default(1)
    .describe('Factor of the pre-training loss.'),
  update: z.enum(['sequential', 'summed']).default('sequential')
    .describe('`sequential`: an update of its own after each of the reward\'s (Algorithm 1, and the maintainers\' advice); '
      + '`summed`: one update.'),
});

const options = z.strictObject({
  window: z.number().positive().max(1).default(0.25)
    .describe('The step is drawn from the last `window` share of sampling: steps 30–39 of 40 in ImageReward/ReFL.py:716.'),
  ceiling: z.number().nullable().default(null)
    .describe('φ(r) = relu(ceiling − r) for the reward as given; `null` is −r. 2 standard deviations for ImageReward '
      + '(ReFL.py:767).'),
  scale: z.number().positive().default(1)
    .describe('Factor of the reward loss; 1e-3 for full fine-tuning in fp16 (ReFL.py:768). Adam makes 1 the natural choice.'),
  pretrain: pretraining.nullable().default(null)
    .describe('The pre-training loss of the paper\'s Algorithm 1, which the published code lacks; null for none.'),
});

/**
 * L = scale · mean φ(r(x̂0(x_t), c)), t uniform among the last steps (Xu et al. 2023, eq. 6, Algorithm 1). One draw a
 * batch, as in the published code. That code samples without guidance; here guidance is the task's own. With `pretrain`
 * the loss of the model's own training, mean ‖ε − ε_θ(x_t)‖² without guidance, is descended too.
 */
export const refl: Method<z.infer<typeof options>> = {
  name: 'refl',
  summary: 'reward of the clean image predicted at a random late step, through one network call',
  paper: 'Xu et al. 2023, ImageReward, arXiv 2304.05977, Algorithm 1',
  options,
  needs: { differentiableReward: true, density: false },
  sampling: { noise: 1, noisyEnd: false },
  async create(task, { window, ceiling, scale, pretrain }) {
    const rollouts = await openRollouts(task);
    const call = await openRewardedCall(task, {
      loss: (score) => mul(ceiling === null ? neg(score) : relu(sub(ceiling, score)), scale),
    });
    const captioned = pretrain && (await openCaptioned(task, pretrain.pictures, 'reference', 'refl pictures'));
    const denoising = pretrain && (await openDenoisingLoss(task, pretrain.weight));
    const count = task.plan.steps.length;
    const late = Math.max(1, Math.round(window * count));
    return {
      async *round(prompts, round) {
        const at = count - late + integers({ seed: task.seed, stream: 'refl', step: round }, 0, 1, late)[0]!;
        const trajectory = await rollouts.rollout(prompts, round, { stop: at });
        const rewarded = await call.run(trajectory.x.at(-1)!, toX0(task.plan.steps[at]!), prompts);
        const rewards = rewarded.score;
        const reward: Update = { gradients: rewarded.gradients, loss: rewarded.loss, rewards, metrics: { at } };
        if (!captioned || !denoising) return yield reward;
        const sequential = pretrain!.update === 'sequential';
        if (sequential) yield reward;
        const pictures = await captioned.next(prompts, round);
        const { loss, gradients } = await denoising.run(pictures.clean, drawCorruption(task, pictures.prompts.length, 'refl pretrain', round), pictures.prompts);
        const own: Update = { gradients, loss, rewards, metrics: { pretrainLoss: loss } };
        if (sequential) return yield own;
        accumulate(gradients, reward.gradients);
        yield { ...own, loss: reward.loss + loss, metrics: { ...reward.metrics, ...own.metrics } };
      },
      async release() {
        await rollouts.release();
        await call.release();
        await captioned?.release();
        await denoising?.release();
      },
    };
  },
};

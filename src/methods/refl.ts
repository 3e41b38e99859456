/** @file ReFL: the reward of the clean image predicted at a random late step, through one network call. */
import { z } from 'zod';
import { integers } from '../random/random.js';
import { accumulate, openBackprop } from './backprop.js';
import { openCaptioned } from './captioned.js';
import { drawCorruption, openDenoisingLoss } from './denoising-error.js';
import type { Method, Update } from './method.js';
import { meanOf, perItem } from './reward-loss.js';
import { cleanSample, openRoller } from './rollout.js';

const pretraining = z.strictObject({
  pictures: z.string().nullable().default(null)
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
  needs: { differentiableReward: true, stochasticSampler: false },
  sampler: { eta: 1, lastStep: 'diffusers' },
  async create(task, { window, ceiling, scale, pretrain }) {
    const roller = await openRoller(task);
    const backprop = await openBackprop(task, { jacobian: false });
    const captioned = pretrain && (await openCaptioned(task, pretrain.pictures, 'reference', 'refl pictures'));
    const denoising = pretrain && (await openDenoisingLoss(task, pretrain.weight));
    const count = task.plan.steps.length;
    const late = Math.max(1, Math.round(window * count));
    return {
      async *round(prompts, round) {
        const at = count - late + integers({ seed: task.seed, stream: 'refl', step: round }, 0, 1, late)[0]!;
        const trajectory = await roller.rollout(prompts, round, { stop: at });
        const step = task.plan.steps[at]!;
        const x = trajectory.x.at(-1)!;
        const clean = cleanSample(task, step, x, await roller.predict(x, step, prompts));
        const { score, gradient } = await task.reward.gradient(clean, prompts);
        const active = (i: number): boolean => ceiling === null || score[i]! < ceiling;
        // φ'(r) = −1 where the hinge is open; x̂0 depends on θ through cleanOut · ε_θ alone.
        const slope = (i: number): number => (active(i) ? (-scale / task.batch) * step.cleanOut : 0);
        const { parameters } = await backprop.network(x, step, perItem(task, gradient, slope), prompts);
        const losses = Array.from(score, (r) => scale * (ceiling === null ? -r : Math.max(0, ceiling - r)));
        const reward: Update = { gradients: parameters, loss: meanOf(losses), rewards: score, metrics: { at } };
        if (!captioned || !denoising) return yield reward;
        const sequential = pretrain!.update === 'sequential';
        if (sequential) yield reward;
        const pictures = await captioned.next(prompts, round);
        const { loss, gradients } = await denoising.run(pictures.clean, drawCorruption(task, 'refl pretrain', round), pictures.prompts);
        const own: Update = { gradients, loss, rewards: score, metrics: { pretrainLoss: loss } };
        if (sequential) return yield own;
        accumulate(gradients, parameters);
        yield { ...own, loss: reward.loss + loss, metrics: { ...reward.metrics, ...own.metrics } };
      },
      async release() {
        await roller.release();
        await backprop.release();
        await captioned?.release();
        await denoising?.release();
      },
    };
  },
};

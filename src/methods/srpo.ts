/** @file SRPO: rewards of early steps through a known noise, relative between two ways of wording the prompt. */
import { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import { integers, normal, uniform } from '../random/random.js';
import { ddimStep } from '../schedulers/ddim.js';
import { addNoise } from '../schedulers/forward-process.js';
import { combine } from '../schedulers/linear.js';
import type { Step } from '../schedulers/plan.js';
import { timeAt } from '../schedulers/process.js';
import { takeStep, withoutNoise } from '../schedulers/step.js';
import { accumulate, openBackprop } from './backprop.js';
import type { Method } from './method.js';
import { rewardLoss } from './reward-loss.js';
import { forItems, openRollouts } from './rollout.js';
import { samplesOf, sampleSize } from './task.js';
import type { Task } from './task.js';

const words = (what: string, given: readonly string[]) => z.array(z.string()).min(1).default([...given])
  .describe(`Put before the prompt, one at random, ${what}.`);

const options = z.strictObject({
  better: words('to say what is wanted', ['a photo of', 'realistic,', 'natural light,']),
  worse: words('to say what is not', ['a computer rendering of', 'oily skin,', 'oversaturated,']),
  leap: z.number().positive().max(0.5).default(0.1)
    .describe('Length of the one step that is learnt from, as a share of the times that it is drawn from (1 − groundtruth_ratio).'),
  from: z.number().min(0).max(1).default(0.5)
    .describe('The cleanest time that is drawn, as a share of all (entry 25 of 50).'),
  to: z.number().min(0).max(1).default(0.9)
    .describe('And the noisiest (entry 5 of 50).'),
  threshold: z.number().nullable().default(null)
    .describe('The loss is relu(threshold − S); `null` is −S. 0.7 for HPSv2.1 in the published code.'),
  kappa: z.tuple([z.number(), z.number()]).default([0.1, 0.25])
    .describe('How much more the wanted wording counts than the other, from the cleanest time to the noisiest (discount_pos).'),
  kappaInverse: z.tuple([z.number(), z.number()]).default([0.3, 0.01])
    .describe('The same of the branch that adds noise (discount_inv).'),
  inverse: z.boolean().default(true)
    .describe('Also learn from steps that add noise, with the wordings exchanged: what a reward likes in any picture cancels. '
      + 'Without it the model hacks after about ten updates (issue 22 of the published code).'),
}).refine((o) => o.from < o.to, { path: ['to'], message: 'must be above from' });

/**
 * Shen et al. 2025. A finished sample x0 is noised with a known ε to a level a, one step of the network leads to a level b,
 * and the known noise is taken out again (Direct-Align): x̂0 = (x_b − noise_b·ε)/signal_b, which is x0 if the network is
 * right, and depends on its output the less the shorter the step. Then S = (1 + κ)·r(x̂0, better) − r(x̂0, worse).
 *
 * Deviations: times are uniform over a share of the training times, which for flows is the published grid up to its
 * shift; r may be any reward that reads prompts, where the code has products of embeddings. The loss of
 * both branches is the sum of their means. Published beside: lr 5e-6 on all weights, gradients clipped at 0.1, samples of 25
 * steps.
 */
export const srpo: Method<z.infer<typeof options>> = {
  name: 'srpo',
  summary: 'one step at early times with its noise known, rewarded for the wanted wording of the prompt against another',
  paper: 'Shen et al. 2025, Directly Aligning the Full Diffusion Trajectory with Fine-Grained Human Preference, arXiv 2509.06942',
  options,
  needs: { differentiableReward: true, density: false },
  sampling: { noise: 0, noisyEnd: false },
  async create(task, opts) {
    const { better, worse, leap, from, to, threshold, kappa, kappaInverse, inverse } = opts;
    const rollouts = await openRollouts(task);
    const backprop = await openBackprop(task, { jacobian: false });
    const size = sampleSize(task);
    return {
      async *round(prompts, round) {
        const key = { seed: task.seed, stream: 'srpo', step: round };
        const x0 = (await rollouts.rollout(prompts, round)).x.at(-1)!;
        const [place] = uniform(key, 0, 1);
        const worded = (list: readonly string[], draw: number): string[] =>
          prompts.map((prompt, i) => `${list[integers(key, draw, prompts.length, list.length)[i]!]!} ${prompt}`);
        const [wanted, unwanted] = [worded(better, 1), worded(worse, 2)];
        const noise = samplesOf(task, normal({ ...key, stream: 'srpo noise' }, 0, prompts.length * size));
        // The step lies within the range, whichever way it goes.
        const at = leap + place! * (1 - 2 * leap);
        const time = (share: number): number => timeAt(task.process, from + share * (to - from));
        const gradients = new Map<string, HostTensor>();
        let total = 0;
        let rewards: Float32Array | null = null;
        for (const up of inverse ? [false, true] : [false]) {
          const step = withoutNoise(ddimStep(task.process, time(up ? at - leap : at + leap), time(at))); // DDIM's deviation is not defined upwards
          const [first, last] = up ? kappaInverse : kappa;
          const weight = 1 + first + (up ? at - leap : at) * (last - first);
          const { x, clean } = await directAlign(task, rollouts, x0, noise, step, prompts);
          const plus = await task.reward.gradient(clean, up ? unwanted : wanted);
          const minus = await task.reward.gradient(clean, up ? wanted : unwanted);
          rewards ??= plus.score;
          const relative = {
            score: combine([weight, plus.score], [-1, minus.score]),
            gradient: samplesOf(task, combine([weight, plus.gradient.data as Float32Array], [-1, minus.gradient.data as Float32Array])),
          };
          const { loss, gradient } = rewardLoss(task, relative, threshold);
          const cotangent = samplesOf(task, combine([throughNoise(step), gradient.data as Float32Array]));
          accumulate(gradients, (await backprop.network(x, step, cotangent, prompts)).parameters);
          total += loss;
        }
        yield { gradients, loss: total, rewards: rewards!, metrics: { at: from + at * (to - from) } };
      },
      async release() {
        await rollouts.release();
        await backprop.release();
      },
    };
  },
};

/** ∂x̂0/∂output of the step below: what the step makes of it, at the signal of where it leads. */
export const throughNoise = ({ meanFromOutput, to }: Step): number => meanFromOutput / to.signal;

/** Noise x0 with ε to where the step begins, take it, and take the same ε out again. */
export async function directAlign(
  task: Task, rollouts: Awaited<ReturnType<typeof openRollouts>>, x0: HostTensor, noise: HostTensor, step: Step, prompts: readonly string[],
): Promise<{ x: HostTensor; clean: HostTensor }> {
  const [clean, z] = [x0.data as Float32Array, noise.data as Float32Array];
  const x = addNoise(step.from, clean, z);
  const output = await rollouts.predict(samplesOf(task, x), forItems(prompts.length, step), prompts);
  const next = takeStep(step, x, output.data as Float32Array);
  return { x: samplesOf(task, x), clean: samplesOf(task, combine([1 / step.to.signal, next], [-step.to.noise / step.to.signal, z])) };
}

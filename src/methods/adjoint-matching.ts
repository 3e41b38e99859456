/** @file Adjoint Matching: the reward's gradient, carried back along a trajectory by the base model, is regressed on. */
import { z } from 'zod';
import { meanOf } from '../evaluation/evaluation.js';
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { stopGradient } from '../graph/grad.js';
import { cast, lessEqual, mul, square, sub } from '../graph/ops/arithmetic.js';
import { flatten, reshape } from '../graph/ops/layout.js';
import { mean } from '../graph/ops/reduce.js';
import { pause } from '../host/pause.js';
import { permutation } from '../random/random.js';
import type { Key } from '../random/random.js';
import type { Step } from '../schedulers/plan.js';
import type { Process } from '../schedulers/process.js';
import { stepFeed } from '../schedulers/step.js';
import { stochasticSteps } from '../schedulers/transition.js';
import { openCarriedScores } from './carried-scores.js';
import { meanOfParts, openLoss } from './loss-graph.js';
import type { Method } from './method.js';
import { perItem } from './reward-loss.js';
import { openRollouts } from './rollout.js';
import { itemInput, sampleInput, stepsInput } from './task.js';
import type { Task } from './task.js';
import { pick } from './transitions.js';

const options = z.strictObject({
  lambda: z.number().nonnegative().default(100)
    .describe('λ: samples are drawn towards p(x)·e^(λr); 100 for ImageReward on SD 1.5, and 1, 10, 31.6 beside it.'),
  form: z.enum(['score', 'transition', 'next']).default('score')
    .describe('What is matched: the model\'s `score` (ours: exact however few the steps), or the means of the sampler\'s '
      + 'transitions, with the adjoint at x (`transition`, the published code) or at x\' (`next`, which tilts what the chain samples).'),
  trained: z.int().positive().default(4)
    .describe('Steps of each trajectory that are learnt from, half of them from the first 60% (4 of 50).'),
  quantile: z.number().positive().max(1).default(0.9)
    .describe('Samples whose error is above this quantile of late are left out; 1 keeps all.'),
});

/**
 * Domingo-Enrich et al. 2025. Trajectories of the tuned model with memoryless noise (η = 1); then, through the base
 * model alone, the lean adjoint a_S = −λ∇r(x_S), a_k = (∂μ_base/∂x_k)ᵀ a_{k+1}; and the loss is
 *
 *     ‖(μ_θ(x_k) − μ_base(x_k))/std_k + std_k·a_k‖²
 *
 * on chosen steps. As published the minimum tilts less than λ where steps are few; −a_k is an estimate of ∇V(x_k) at any
 * number of them, so that in `score` form x̂0 is shifted by what Tweedie's formula makes of it, (noise²/signal)·(−a_k).
 * Published beside: S = 50, lr 3e-6 on all weights, AdamW β 0.9 and 0.95, no clipping of gradients. Guidance acts
 * in sampling alone: adjoint and loss are of the prompt's own branch.
 */
export const adjointMatching: Method<z.infer<typeof options>> = {
  name: 'adjoint-matching',
  summary: 'the reward\'s gradient, carried back along the trajectory by the base model, shifts the score at each step',
  paper: 'Domingo-Enrich et al. 2025, Adjoint Matching: Fine-tuning Flow and Diffusion Generative Models with Memoryless Stochastic Optimal Control, arXiv 2409.08861',
  options,
  needs: { differentiableReward: true, density: true },
  sampling: { noise: 1, noisyEnd: false },
  async create(task, { lambda, form, trained, quantile }) {
    const rollouts = await openRollouts(task);
    const carried = await openCarriedScores(task, { guided: false });
    const loss = await openOutputMatching(task);
    const memory = new Map<string, HostTensor>();
    const candidates = form === 'score' ? task.plan.steps.map((_, i) => i) : stochasticSteps(task.plan);
    return {
      memory,
      async *round(prompts, round) {
        const trajectory = await rollouts.rollout(prompts, round);
        const { score, gradient } = await task.reward.gradient(trajectory.x.at(-1)!, prompts);
        const values = await carried.carry(trajectory, perItem(task, gradient, () => lambda), 0); // ∇V(x_k) = −a_k
        const key = { seed: task.seed, stream: 'adjoint-matching', step: round };
        const chosen = prompts.map((_, item) => earlyAndLate(candidates, trained, key, item));
        const limit = memory.get('limit')?.data[0] as number | undefined;
        const total = meanOfParts();
        const errors: number[] = [];
        for (let j = 0; j < chosen[0]!.length; j++) {
          const indices = chosen.map((steps) => steps[j]!);
          const lessons = indices.map((i) => lessonOf(form, task.process, trajectory.steps[i]!));
          const at = indices.map((i, b) => i + lessons[b]!.ahead);
          const shift = perItem(task, pick(task, values, at), (b) => lessons[b]!.shift);
          const weights = lessons.map((l) => l.weight);
          const part = await loss.run(pick(task, trajectory.x, indices), indices.map((i) => trajectory.steps[i]!), shift, weights, limit ?? Infinity, prompts);
          total.add(part);
          for (const e of part.errors) errors.push(e);
          await pause();
        }
        const kept = limit === undefined ? 1 : meanOf(errors.map((e) => Number(e <= limit)));
        if (quantile < 1) memory.set('limit', host(Float32Array.of(follow(limit, quantileOf(errors, quantile))), [1]));
        yield { ...total.mean(), rewards: score, metrics: { error: meanOf(errors), kept } };
      },
      async release() {
        await rollouts.release();
        await carried.release();
        await loss.release();
      },
    };
  },
};

/** How an estimate of ∇V at x_{k + ahead} shifts the network's output at x_k, and how much the error of that counts. */
interface Lesson {
  readonly ahead: 0 | 1;
  readonly shift: number;
  readonly weight: number;
}

/** The published objective in units of the network's output; `score`'s weight is 1 for noise, (1−σ)/σ for flows (flow.md C7). */
export function lessonOf(form: 'score' | 'transition' | 'next', process: Process, step: Step): Lesson {
  const { from, to, x0FromOutput, meanFromOutput, std } = step;
  if (form !== 'score') return { ahead: form === 'next' ? 1 : 0, shift: std ** 2 / meanFromOutput, weight: meanFromOutput / std };
  // Pure noise has no signal to divide by, and tells of x' alone, which is drawn from x̂0.
  const level = from.signal === 0 ? to : from;
  const shift = level.noise ** 2 / level.signal / x0FromOutput;
  const weight = process.kind === 'rectified-flow' ? Math.sqrt(level.signal / level.noise) : (x0FromOutput * level.signal) / level.noise;
  return { ahead: from.signal === 0 ? 1 : 0, shift, weight };
}

/** `count` of the steps, half of them (rounded down) from the first 60% as far as there are so many. */
function earlyAndLate(steps: readonly number[], count: number, key: Key, item: number): number[] {
  const border = Math.round(0.6 * steps.length);
  const drawn = (from: readonly number[], n: number, stream: string): number[] =>
    [...permutation({ ...key, stream: `${key.stream} ${stream}` }, item, from.length)].slice(0, n).map((i) => from[i]!);
  const wanted = Math.min(count, steps.length);
  const early = drawn(steps.slice(0, border), Math.max(Math.floor(wanted / 2), wanted - (steps.length - border)), 'early');
  return [...early, ...drawn(steps.slice(border), wanted - early.length, 'late')];
}

/** mean w²·‖f_θ(x) − f_base(x) − shift‖² over an item, of the items whose √ of it is not above the limit. */
export async function openOutputMatching(task: Task) {
  const [x, shift, step] = [sampleInput(task, 'x'), sampleInput(task, 'shift'), stepsInput(task, 'step')];
  const [weight, limit] = [itemInput(task, 'weight'), itemInput(task, 'limit')];
  const answer = (which: 'tuned' | 'reference') => task.network(x, step, which, { guided: false });
  const off = mul(sub(sub(answer('tuned'), stopGradient(answer('reference'))), shift), reshape(weight, [task.microbatch, 1, 1, 1]));
  const squares = mean(flatten(square(off)), { axes: [1] });
  const within = cast(lessEqual(stopGradient(squares), square(limit)), 'float32');
  const graph = await openLoss(task, mean(mul(squares, within)), { over: 'mean', extras: { squares }, calls: 2 });
  return {
    async run(at: HostTensor, steps: readonly Step[], g: HostTensor, weights: readonly number[], most: number, prompts: readonly string[]) {
      const limits = new Float32Array(prompts.length).fill(Math.min(most, 1e18)); // whose square is finite
      const { extras, ...value } = await graph.run({
        x: at, step: stepFeed(steps), shift: g, weight: host(Float32Array.from(weights), [weights.length]), limit: host(limits, [limits.length]),
      }, prompts);
      return { ...value, errors: (extras.squares.data as Float32Array).map(Math.sqrt) };
    },
    release: () => graph.release(),
  };
}

/** A running value with the published decay of 0.9. */
const follow = (before: number | undefined, now: number): number => (before === undefined ? now : 0.9 * before + 0.1 * now);

/** By linear interpolation between order statistics. */
function quantileOf(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  return sorted[below]! + (at - below) * ((sorted[below + 1] ?? sorted[below]!) - sorted[below]!);
}

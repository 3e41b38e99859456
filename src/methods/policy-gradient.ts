/** @file Policy gradients on transitions of stored trajectories: the likelihood of each step, weighed by its advantage. */
import type { HostTensor } from '../graph/dtype.js';
import { host } from '../graph/dtype.js';
import { stopGradient } from '../graph/grad.js';
import { add, clip, div, exp, maximum, mul, neg, square, sub } from '../graph/ops/arithmetic.js';
import { flatten, reshape } from '../graph/ops/layout.js';
import { mean } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { permutation } from '../random/random.js';
import type { Step } from '../schedulers/plan.js';
import { stepFeed, transitionMean } from '../schedulers/step.js';
import { logProbability } from '../schedulers/transition.js';
import { meanOfParts, openLoss } from './loss-graph.js';
import type { LossValue } from './loss-graph.js';
import type { Update } from './method.js';
import type { Trajectory } from './rollout.js';
import { itemInput, sampleInput, stepsInput } from './task.js';
import type { Task } from './task.js';
import { transitionAt } from './transitions.js';
import type { Transition } from './transitions.js';

export interface PolicyGradientOptions {
  /** The ratio of likelihoods counts within 1 ± this; null for the score function, −A·log p. */
  readonly clip: number | null;
  /** `guard`: log ρ without its mean and in units of the step's noise, see `guarded`. Default `plain`. */
  readonly ratio?: 'plain' | 'guard';
  /** Weight and kind of the pull to the reference; none by default. */
  readonly pull?: { readonly weight: number; readonly kind: 'output' | 'transition' };
}

export interface PolicyGradient {
  /** @param advantage [B]; `ratio` [B] comes back beside the loss, and what is pulled at, `pull` [] */
  run(transition: Transition, advantage: Float32Array, prompts: readonly string[]): Promise<LossValue<'ratio' | 'pull'>>;
  release(): Promise<void>;
}

/**
 * −mean A·log p (`clip` null: eq. 4 of Black et al. 2024), or mean max(−A·ρ, −A·clip(ρ, 1 ± clip)) with the ratio ρ of
 * the likelihood now to that when the trajectory was sampled (eq. 5, clipped as in PPO). Log-probabilities are means over
 * an item's elements. A pull adds weight · mean ‖Δ‖², Δ the distance to the reference of outputs, or of means in units
 * √2·std: the KL divergence of the transitions, a mean over elements.
 */
export async function openPolicyGradient(task: Task, { clip: range, ratio: kind = 'plain', pull }: PolicyGradientOptions): Promise<PolicyGradient> {
  const [x, next, output] = [sampleInput(task, 'x'), sampleInput(task, 'next'), sampleInput(task, 'output')];
  const advantage = itemInput(task, 'advantage');
  const step = stepsInput(task, 'step');
  const answer = task.network(x, step, 'tuned');
  const [mu, muBefore] = [transitionMean(step, x, answer), stopGradient(transitionMean(step, x, output))];
  const now = logProbability(step, next, mu);
  const logRatio = sub(now, stopGradient(logProbability(step, next, muBefore)));
  const ratio = exp(kind === 'guard' ? guarded(step, logRatio, sub(mu, muBefore)) : logRatio);
  const cost = neg(advantage);
  const policy = mean(range === null ? mul(cost, now) : maximum(mul(cost, ratio), mul(cost, clip(ratio, 1 - range, 1 + range))));
  const extras: Record<string, Tensor> = { ratio };
  if (pull) {
    const reference = stopGradient(task.network(x, step, 'reference'));
    const off = pull.kind === 'output' ? sub(answer, reference) : div(sub(mu, transitionMean(step, x, reference)), mul(step.std, Math.SQRT2));
    extras['pull'] = mean(square(off));
  }
  const loss = pull ? add(policy, mul(extras['pull']!, pull.weight)) : policy;
  const graph = await openLoss<string>(task, loss, { over: 'mean', extras, calls: task.callsPerSample * (pull ? 2 : 1) });
  return {
    run: ({ x: at, next: to, output: was, steps }, weights, prompts) =>
      graph.run({ x: at, next: to, output: was, step: stepFeed(steps), advantage: host(weights, [weights.length]) }, prompts),
    release: () => graph.release(),
  };
}

/**
 * σ·(log ρ + mean δ²/(2σ²)) per item, δ = μ − μ_before: log ρ has a mean below 0 that is larger at some steps than at others, so
 * that good samples never reach the clip (Wang et al. 2025, GRPO-Guard, arXiv 2510.22319); this is mean z·δ. The published
 * code takes the mean of δ² over the whole batch (flow.md C4), here it is each item's own.
 */
function guarded(step: Step<Tensor>, logRatio: Tensor, delta: Tensor): Tensor {
  const std = reshape(step.std, logRatio.shape);
  const squares = mean(flatten(square(delta)), { axes: [1] });
  return add(mul(std, logRatio), div(squares, mul(std, 2)));
}

/** A round's samples, and how they are gone through. */
export interface Samples {
  readonly trajectories: readonly Trajectory[];
  /** Reward and advantage of each item of each trajectory. */
  readonly rewards: readonly number[];
  readonly advantages: Float32Array;
  /** Steps that may be learnt from, and how many of them each item is. */
  readonly steps: readonly number[];
  readonly trained: number;
  /** Trajectories that an update is made from. */
  readonly share: number;
}

/**
 * One update for every `share` trajectories, in random order: the mean over their items and over `trained` steps of each,
 * in an order of its own.
 *
 * @param clip what counts as clipped in the metrics
 */
export async function* policyUpdates(
  task: Task, objective: PolicyGradient, { trajectories, rewards, advantages, steps, trained, share }: Samples,
  { stream, round, clip: range }: { stream: string; round: number; clip: number | null },
): AsyncGenerator<Update> {
  const { prompts } = trajectories[0]!;
  const key = { seed: task.seed, stream, step: round };
  const order = permutation(key, trajectories.length * prompts.length, trajectories.length);
  for (let first = 0; first < trajectories.length; first += share) {
    const total = meanOfParts();
    const used: number[] = [];
    let [ratios, clipped, ratioError, pull, parts] = [0, 0, 0, 0, 0];
    for (const copy of order.subarray(first, first + share)) {
      const [from, to] = [copy * prompts.length, (copy + 1) * prompts.length];
      const times = prompts.map((_, i) => permutation(key, from + i, steps.length));
      for (const r of rewards.slice(from, to)) used.push(r);
      for (let j = 0; j < trained; j++) {
        const transition = transitionAt(task, trajectories[copy]!, times.map((t) => steps[t[j]!]!));
        const part = await objective.run(transition, advantages.slice(from, to), prompts);
        total.add(part);
        parts += 1;
        pull += Number((part.extras as Partial<Record<'pull', HostTensor>>).pull?.data[0] ?? 0);
        for (const ratio of part.extras.ratio.data as Float32Array) {
          const off = Math.abs(ratio - 1);
          ratios += 1;
          clipped += Number(range !== null && off > range);
          ratioError = Math.max(ratioError, off);
        }
      }
    }
    const metrics = { ratioError, ...(range !== null && { clipped: clipped / ratios }), ...(pull > 0 && { pull: pull / parts }) };
    yield { ...total.mean(), rewards: Float32Array.from(used), metrics };
  }
}

/** @file The three losses of ∇-DB on a batch of transitions, as graphs: eq. 11–13 of Liu et al. 2025. */
import { grad, stopGradient } from '../graph/grad.js';
import { add, div, mul, square, sub } from '../graph/ops/arithmetic.js';
import { mean, sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import type { Step } from '../schedulers/plan.js';
import { transitionMean } from '../schedulers/step.js';
import { score } from '../schedulers/transition.js';
import type { NablaOptions } from './nabla-db.js';
import type { Auxiliary, Task } from './task.js';

export interface BalanceInputs {
  readonly x: Tensor; // [B, C, h, w]
  readonly next: Tensor; // x'
  readonly step: Step<Tensor>;
  /** What is known of x': its time and level. */
  readonly after: Step<Tensor>;
  /** signal² of x', [B, 1, 1, 1]. */
  readonly power: Tensor;
  /** The noising process from x' to x, each [B, 1, 1, 1]. */
  readonly noised: { readonly mean: Tensor; readonly std: Tensor };
  /** 1 where x' is finished, [B, 1, 1, 1]. */
  readonly last: Tensor;
  /** βγ∇ log R at x and at x', no gradient flows there. */
  readonly rewardNow: Tensor;
  readonly rewardNext: Tensor;
  /** ∇ log F̃ at x and at x', carried back from the end of the trajectory; null to balance single transitions alone. */
  readonly carried: { readonly now: Tensor; readonly next: Tensor } | null;
  /** Noise for new x' of the tuned model and of the prior, to reproduce a mistake; null for the stored x'. */
  readonly fresh: readonly [Tensor, Tensor] | null;
}

export interface BalanceLosses {
  readonly forward: Tensor;
  /** Null without a flow network. */
  readonly reverse: Tensor | null;
  readonly terminal: Tensor | null;
  /** ε_θ(x), guidance included. */
  readonly tuned: Tensor;
}

/** ∇ of log P_B(x|x') = log N(x; mean·x', std²) by x' and by x: the noising process. */
function noisingScores({ x, next, noised }: BalanceInputs): { next: Tensor; x: Tensor } {
  const residual = div(sub(x, mul(noised.mean, next)), square(noised.std));
  return { next: mul(noised.mean, residual), x: mul(residual, -1) };
}

/** −∇_x ‖x' − μ(x)‖²/(2σ²): the score of a transition by where it comes from. */
function reverseScore(step: Step<Tensor>, next: Tensor, mu: Tensor, x: Tensor): Tensor {
  const density = mul(square(div(sub(next, mu), step.std)), -0.5);
  return grad(sum(density), [x])[0]!;
}

export function balanceLosses(task: Task, flow: Auxiliary | null, opts: NablaOptions, inputs: BalanceInputs): BalanceLosses {
  const { x, next, step, after, last, rewardNow, rewardNext, carried, fresh, power } = inputs;
  const tuned = task.network(x, step, 'tuned');
  const mu = transitionMean(step, x, tuned);
  const muPrior = opts.residual || fresh ? transitionMean(step, x, task.network(x, step, 'reference')) : mu;
  const drawn = (mean_: Tensor, noise: Tensor | undefined): Tensor =>
    noise ? stopGradient(add(mean_, mul(step.std, noise))) : next;
  const earlier = sub(1, last);
  const even = (difference: Tensor): Tensor => (opts.weighting === 'sigma' ? mul(difference, step.std) : difference);
  const noising = noisingScores(inputs);

  // ∇_{x'} log P̃_F(x'|x) = ∇_{x'} log F̃(x'). The last transition does not train the flow.
  const policy = score(step, drawn(mu, fresh?.[0]), mu);
  const prior = opts.residual ? mul(score(step, drawn(muPrior, fresh?.[1]), muPrior), opts.priorStrength) : noising.next;
  const flowNext = flow?.output(next, after);
  const corrected = flowNext && (opts.flowGradient === 'both' ? flowNext : stopGradient(flowNext));
  const single = add(rewardNext, corrected ? mul(corrected, earlier) : 0);
  // A guess made in much noise follows the policy too closely to be followed by it.
  const share = mul(power, 1 - opts.path);
  const flowScore = carried ? add(carried.next, mul(share, sub(single, carried.next))) : single;
  const forward = mean(square(even(sub(policy, add(stopGradient(prior), flowScore)))));
  if (!flow || !flowNext) return { forward, reverse: null, terminal: null, tuned };

  /** ∇_x log P̃_F(x'|x), which is −∇_x log F̃(x). */
  function residualBack(): Tensor {
    const own = reverseScore(step, next, mu, x);
    const trained = opts.reverseGradient === 'full' ? own : stopGradient(own);
    const policyBack = opts.compat.includes('scaled-reverse') ? mul(trained, opts.priorStrength) : trained;
    const priorBack = opts.residual ? mul(stopGradient(reverseScore(step, next, muPrior, x)), opts.priorStrength) : noising.x;
    return sub(policyBack, priorBack);
  }
  const balance = add(add(rewardNow, flow.output(x, step)), carried ? mul(carried.now, -1) : residualBack());
  const reverse = mean(square(mul(even(balance), earlier)));

  // ∇ log F̃(x_T) is the reward's alone: g_φ(x_T) = 0.
  const terminal = mean(square(mul(flowNext, last)));
  return { forward, reverse: opts.reverse > 0 ? reverse : null, terminal, tuned };
}

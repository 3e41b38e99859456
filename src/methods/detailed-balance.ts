/** @file The three losses of ∇-DB on a batch of transitions, eq. 11–13 of Liu et al. 2025, as graphs and compiled. */
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { grad, stopGradient } from '../graph/grad.js';
import { add, div, mul, square, sub } from '../graph/ops/arithmetic.js';
import { mean, sum } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import type { Step } from '../schedulers/plan.js';
import { bridge, signalPower } from '../schedulers/process.js';
import { stepFeed, transitionMean } from '../schedulers/step.js';
import { score } from '../schedulers/transition.js';
import { openLoss } from './loss-graph.js';
import { shiftedReferenceLoss, sumOfTerms } from './shifted-reference.js';
import { itemInput, sampleInput, stepsInput } from './task.js';
import type { Auxiliary, Task } from './task.js';
import type { Transition } from './transitions.js';

/** Of ∇-DB's options those that say what is balanced. */
export interface BalanceOptions {
  readonly flow: boolean;
  readonly flowGradient: 'reverse' | 'both';
  readonly reverse: number;
  readonly reverseGradient: 'full' | 'flow-only';
  readonly residual: boolean;
  readonly priorStrength: number;
  readonly weighting: 'score' | 'sigma';
  readonly path: number;
  readonly trust: number;
}

interface BalanceInputs {
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
}

interface BalanceLosses {
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

function balanceLosses(task: Task, flow: Auxiliary | null, opts: BalanceOptions, inputs: BalanceInputs): BalanceLosses {
  const { x, next, step, after, last, rewardNow, rewardNext, carried, power } = inputs;
  const tuned = task.network(x, step, 'tuned');
  const mu = transitionMean(step, x, tuned);
  const muPrior = opts.residual ? transitionMean(step, x, task.network(x, step, 'reference')) : mu;
  const earlier = sub(1, last);
  const weight = opts.weighting === 'sigma' ? step.std : undefined;
  const noising = noisingScores(inputs);

  // ∇_{x'} log P̃_F(x'|x) = ∇_{x'} log F̃(x'). The last transition does not train the flow.
  const policy = score(step, next, mu);
  const prior = opts.residual ? mul(score(step, next, muPrior), opts.priorStrength) : noising.next;
  const flowNext = flow?.output(next, after);
  const corrected = flowNext && (opts.flowGradient === 'both' ? flowNext : stopGradient(flowNext));
  const single = add(rewardNext, corrected ? mul(corrected, earlier) : 0);
  // A guess made in much noise follows the policy too closely to be followed by it.
  const share = mul(power, 1 - opts.path);
  const flowScore = carried ? add(carried.next, mul(share, sub(single, carried.next))) : single;
  const forward = shiftedReferenceLoss(policy, prior, flowScore, weight);
  if (!flow || !flowNext) return { forward, reverse: null, terminal: null, tuned };

  /** ∇_x log P̃_F(x'|x), which is −∇_x log F̃(x). */
  function residualBack(): Tensor {
    const own = reverseScore(step, next, mu, x);
    const trained = opts.reverseGradient === 'full' ? own : stopGradient(own);
    const priorBack = opts.residual ? mul(stopGradient(reverseScore(step, next, muPrior, x)), opts.priorStrength) : noising.x;
    return sub(trained, priorBack);
  }
  const balance = add(add(rewardNow, flow.output(x, step)), carried ? mul(carried.now, -1) : residualBack());
  const reverse = mean(square(mul(weight ? mul(balance, weight) : balance, earlier)));

  // ∇ log F̃(x_T) is the reward's alone: g_φ(x_T) = 0.
  const terminal = mean(square(mul(flowNext, last)));
  return { forward, reverse: opts.reverse > 0 ? reverse : null, terminal, tuned };
}

/** What is known of ∇ log F̃ at both ends of a batch of transitions, each [B, C, h, w]. */
interface Scores {
  /** βγ∇ log R. */
  readonly now: HostTensor;
  readonly next: HostTensor;
  /** Carried back from the ends of the trajectories. */
  readonly carriedNow?: HostTensor;
  readonly carriedNext?: HostTensor;
}

/**
 * Compiles the losses of a batch of transitions and their gradients by θ and φ.
 *
 * @param paths whether carried scores will be given
 */
export async function openBalance(task: Task, opts: BalanceOptions, paths = false) {
  const at = (name: string): Tensor => sampleInput(task, name);
  const perItem = (name: string): Tensor => itemInput(task, name, [1, 1, 1]);
  const flow = opts.flow ? task.auxiliary('flow') : null;
  const output = at('output');
  const { forward, reverse, terminal, tuned } = balanceLosses(task, flow, opts, {
    x: at('x'), next: at('next'), step: stepsInput(task, 'step'), after: stepsInput(task, 'after'), last: perItem('last'),
    power: perItem('power'), noised: { mean: perItem('noised mean'), std: perItem('noised std') },
    rewardNow: at('reward now'), rewardNext: at('reward next'),
    carried: paths ? { now: at('carried now'), next: at('carried next') } : null,
  });
  const trust = mean(square(sub(tuned, output)));
  const terms = { forward, trust, ...(reverse && { reverse }), ...(terminal && { terminal }) };
  const total = sumOfTerms(terms, { forward: 1, reverse: opts.reverse, terminal: 1, trust: opts.trust });
  const symbols = new Map([...task.symbols, ...(flow?.symbols ?? [])]);
  // Forward through the tuned network, through the reference where it is balanced against, and through g_φ at x' and x.
  const flows = flow ? (reverse ? 2 : 1) : 0;
  const graph = await openLoss<string>(task, total, { over: 'mean', extras: terms, calls: (opts.residual ? 2 : 1) * task.callsPerSample + flows, symbols });
  const column = (values: readonly number[]): HostTensor => host(Float32Array.from(values), [values.length, 1, 1, 1]);
  return {
    flow,
    /** Whether the score at x is asked for, not only that at x'. */
    reverses: reverse !== null,
    run(t: Transition, scores: Scores, prompts: readonly string[]) {
      const noised = t.steps.map(({ from, to }) => bridge(to, from));
      const after = t.steps.map((s) => ({ ...s, timestep: s.nextTimestep, from: s.to }));
      return graph.run({
        x: t.x, next: t.next, output: t.output, 'reward now': scores.now, 'reward next': scores.next,
        ...(paths && {
          'carried now': scores.carriedNow!, 'carried next': scores.carriedNext!, power: column(t.steps.map(({ to }) => signalPower(to))),
        }),
        ...(!opts.residual && { 'noised mean': column(noised.map(({ mean: m }) => m)), 'noised std': column(noised.map(({ std }) => std)) }),
        last: column(t.last), step: stepFeed(t.steps), after: stepFeed(after),
        ...Object.fromEntries(flow?.parameters ?? []),
      }, prompts);
    },
    release: () => graph.release(),
  };
}

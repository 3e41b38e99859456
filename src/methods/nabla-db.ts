/** @file ∇-DB: fine-tuning by the gradients of a GFlowNet's detailed balance, residual to the pre-trained model. */
import { z } from 'zod';
import { host } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { add, mul, square, sub } from '../graph/ops/arithmetic.js';
import { mean } from '../graph/ops/reduce.js';
import type { Tensor } from '../graph/tensor.js';
import { pause } from '../host/pause.js';
import { normal } from '../random/random.js';
import { bridge, signalPower } from '../schedulers/process.js';
import type { NoiseLevel } from '../schedulers/process.js';
import { drawNoise } from '../schedulers/sample.js';
import { stepFeed } from '../schedulers/step.js';
import { stochasticSteps } from '../schedulers/transition.js';
import { openCarriedScores } from './carried-scores.js';
import { balanceLosses } from './detailed-balance.js';
import { meanOfParts, openLoss } from './loss-graph.js';
import type { Method } from './method.js';
import { openRewardGuess } from './reward-guess.js';
import { perItem } from './reward-loss.js';
import { forItems, openRoller } from './rollout.js';
import type { Trajectory } from './rollout.js';
import { smoothedGradient } from './smoothed-reward.js';
import { kept, keep } from './stale.js';
import { itemInput, sampleInput, samplesOf, sampleSize, stepsInput } from './task.js';
import type { SampleReward, Task } from './task.js';
import { chooseTransitions, pick, transitionAt, upTo } from './transitions.js';
import type { Transition } from './transitions.js';

const options = z.strictObject({
  beta: z.number().nonnegative().default(1e3)
    .describe('β: the model sampled in the end is prior · exp(β·reward). 1e3 (default_config.py), 1e4 for aesthetic and '
      + 'HPSv2.'),
  gamma: z.enum(['alpha-bar', 'sqrt-alpha-bar', 'one']).default('alpha-bar')
    .describe('γ_t of the guess: ā (published code, `squared`), √ā (paper) or 1.'),
  trust: z.number().nonnegative().default(1e3)
    .describe('λ: pull towards the network that sampled the trajectories. Acts from the second update on the same ones.'),
  reverse: z.number().nonnegative().default(1)
    .describe('w_B: weight of the reverse loss.'),
  reverseGradient: z.enum(['full', 'flow-only']).default('flow-only')
    .describe('Whether the reverse loss also trains the policy (needs second derivatives), or the flow only (published '
      + 'code).'),
  flow: z.boolean().default(true)
    .describe('Learn g_φ, the error of the guess. Without it the forward loss alone is used (`no_flow`).'),
  flowGradient: z.enum(['reverse', 'both']).default('reverse')
    .describe('Whether the forward loss trains g_φ as well (published code). Then the two losses ask different regressions '
      + 'of it, and the result overshoots (docs/decisions.md); trained by the reverse and terminal losses alone it is '
      + 'exact.'),
  path: z.number().min(0).max(1).default(0.5)
    .describe('λ: how far the policy learns from balances over the whole rest of a trajectory, whose end is known, rather '
      + 'than from that of a single transition, which counts (1 − λ)·ā of x\'; above 0 g_φ learns from whole ones alone. 0 '
      + 'is the published loss, which does not settle from about 20 steps on (docs/decisions.md). Ours. Costs a backward '
      + 'pass through the pre-trained model for each step sampled; residual ∇-DB with a flow and `reverseGradient: '
      + 'flow-only` only.'),
  flowLr: z.number().positive().default(1e-3)
    .describe('Learning rate of g_φ.'),
  flowWeightDecay: z.number().nonnegative().default(1e-2)
    .describe('Weight decay of g_φ.'),
  guess: z.enum(['tuned', 'base', 'final']).default('tuned')
    .describe('Where ∇ log R is taken: x̂0 of the tuned model (published), x̂0 of the base model, or the final latent '
      + '(RSM).'),
  smoothing: z.int().positive().default(1)
    .describe('Perturbed copies of x̂0 that ∇ log R is averaged over; 1 for none (published code). The paper\'s experiments '
      + 'take 3 (algorithms.md §1.6, secondary). The logged reward is then the mean over copies of the finished '
      + 'samples.'),
  smoothingNoise: z.number().positive().default(0.05)
    .describe('Deviation of these perturbations, in latents of about unit variance. Ours: the paper\'s is not known.'),
  weighting: z.enum(['score', 'sigma']).default('score')
    .describe('Balance of scores (published), or of scores times σ_t (RSM), which evens out the steps.'),
  priorStrength: z.number().nonnegative().default(1)
    .describe('Factor of the prior\'s score (`pretrained_strength`).'),
  residual: z.boolean().default(true)
    .describe('Balance against the pre-trained model (Residual ∇-DB), or against the noising process alone, which forgets '
      + 'it.'),
  fraction: z.number().positive().max(1).default(0.1)
    .describe('Share of transitions that is learnt from; the last one always is.'),
  subsampling: z.enum(['stratified', 'random']).default('stratified')
    .describe('How these are drawn: one from each stretch of time, or any.'),
  updates: z.int().positive().default(1)
    .describe('Updates from the same trajectories, each with other transitions.'),
  lag: z.boolean().default(false)
    .describe('Learn from the trajectories of the round before, as the published code does; the first round only samples.'),
  compat: z.array(z.enum(['wrong-prompts', 'double-step', 'fresh-next', 'scaled-reverse', 'promptless-flow'])).default([])
    .describe('Mistakes of the published code, for comparison (algorithms.md §1.7): `wrong-prompts` scores lagged samples '
      + 'with the prompts of this round; `double-step` applies each update twice; `fresh-next` draws new x\' instead '
      + 'of the stored one (its DPM-solver branch); `scaled-reverse` applies priorStrength to the tuned reverse score '
      + 'too; `promptless-flow` gives g_φ a text embedding of zeros, as was meant for rewards that read no prompt: '
      + 'its test for them never holds.'),
});

export type NablaOptions = z.infer<typeof options>;

/** Sizes of γ by the level of the sample. */
const GAMMA = {
  'alpha-bar': signalPower,
  'sqrt-alpha-bar': (level: NoiseLevel) => level.signal,
  one: () => 1,
} as const;

/**
 * Liu et al. 2025, eq. 10–16, on transitions x → x' of trajectories sampled with η = 1:
 *
 *     L_fwd  = ‖∇_{x'} log P̃_F(x'|x) − [βγ' ∇ log R(x̂0(x')) + g_φ(x')]‖²
 *     L_rev  = ‖∇_x   log P̃_F(x'|x) + [βγ  ∇ log R(x̂0(x))  + g_φ(x)]‖²
 *     L_term = ‖g_φ(x_T)‖²
 *     L      = L_fwd + w_B·L_rev + L_term + λ‖ε_θ − ε_θ†‖²
 *
 * with means over elements as in the published code. There, and here, the last transition trains no flow by L_fwd and
 * has no reverse loss. The reward is used as log R. `reverse` and `reverseGradient` do nothing without a flow network.
 *
 * These losses alone form a chain of 2S regressions, each on what the one before has learnt so far, and with Adam's momentum
 * each overshoots what it follows: what wavers at the clean end grows from step to step, and long chains never settle
 * (docs/decisions.md). Unless told otherwise the losses therefore are, with C(x) the score of the flow at x as the
 * trajectory's end has it (carried-scores.ts),
 *
 *     L_fwd  = ‖∇_{x'} log P̃_F(x'|x) − w·[βγ' ∇ log R(x̂0(x')) + g_φ(x')] − (1 − w)·C(x')‖²,   w = (1 − λ)·ā'
 *     L_rev  = ‖C(x) − [βγ ∇ log R(x̂0(x)) + g_φ(x)]‖²
 *
 * which hold where the others do on average. The factor ā' keeps the policy from running after a guess that it moves itself:
 * what it changes in much noise x̂0 shows √((1 − ā)/ā) times as large, and g_φ makes up for it only later.
 */
export const nablaDb: Method<NablaOptions> = {
  name: 'nabla-db',
  summary: 'residual ∇-DB: GFlowNet balance of scores; keeps diversity and the prior',
  paper: 'Liu et al. 2025, Efficient Diversity-Preserving Diffusion Alignment via Gradient-Informed GFlowNets, arXiv 2412.07775',
  options,
  needs: { differentiableReward: true, stochasticSampler: true },
  sampler: { eta: 1, lastStep: 'ddpo' },
  async create(task, opts) {
    const stochastic = stochasticSteps(task.plan);
    const roller = await openRoller(task);
    const guess = opts.guess === 'final' ? null : await openRewardGuess(task, opts.guess === 'base' ? 'reference' : 'tuned');
    const carried = followsPaths(opts) ? await openCarriedScores(task) : null;
    const loss = await openTransitionLoss(task, opts, carried !== null);
    const memory = new Map<string, HostTensor>();
    const own = loss.flow && { parameters: loss.flow.parameters, lr: opts.flowLr, weightDecay: opts.flowWeightDecay };
    const reverse = loss.flow !== null && opts.reverse > 0;
    const scaled = (g: HostTensor, level: (item: number) => NoiseLevel): HostTensor =>
      perItem(task, g, (item) => opts.beta * GAMMA[opts.gamma](level(item)));

    /**
     * βγ∇log R at x and at x', one transition per item.
     *
     * @param reward r and its gradient
     * @param end ∇r at the ends of the trajectories
     * @param stale whether the network has changed since it made the stored outputs
     */
    async function rewardFlow(
      reward: SampleReward['gradient'], t: Transition, { steps, outputs }: Trajectory, prompts: readonly string[], end: HostTensor, stale: boolean,
    ): Promise<{ now: HostTensor; next: HostTensor }> {
      /** The gradient at the sample `shift` steps after x, by the guess; that of finished samples is known. */
      async function at(x: HostTensor, shift: number): Promise<HostTensor> {
        const indices = t.indices.map((i) => i + shift);
        if (!guess || indices.every((i) => i === steps.length)) return end;
        const known = stale || opts.guess === 'base' ? undefined : pick(task, outputs, indices);
        return guess.gradient(reward, x, indices.map((i) => steps[i]!), prompts, known);
      }
      return {
        // The last transition has no reverse loss.
        now: scaled(reverse && t.last.includes(0) ? await at(t.x, 0) : end, (b) => t.steps[b]!.from),
        next: scaled(await at(t.next, 1), (b) => t.steps[b]!.to),
      };
    }

    /**
     * ∇r where a trajectory ends before the finished sample, which deterministic steps make of it: that of x̂0 there, whole,
     * so that γ is taken out beforehand. Null where nothing follows, or where the finished sample's own is wanted.
     */
    async function decodedEnd(
      reward: SampleReward['gradient'], whole: Trajectory, { x, steps }: Trajectory, prompts: readonly string[],
    ): Promise<HostTensor | null> {
      const next = whole.steps[steps.length];
      if (!next || !guess) return null;
      const known = opts.lag || opts.guess === 'base' ? undefined : whole.outputs[steps.length];
      const gradient = await guess.gradient(reward, x.at(-1)!, forItems(prompts.length, next), prompts, known);
      return perItem(task, gradient, () => 1 / GAMMA[opts.gamma](steps.at(-1)!.to));
    }

    /** Of the scores at x_0 … x_S those at x and at x'. */
    const ends = ({ indices }: Transition, scores: readonly HostTensor[]): Pick<Scores, 'carriedNow' | 'carriedNext'> =>
      ({ carriedNow: pick(task, scores, indices), carriedNext: pick(task, scores, indices.map((i) => i + 1)) });

    return {
      ...(own && { own }),
      memory,
      async *round(prompts, round) {
        const sampled = await roller.rollout(prompts, round);
        const whole = opts.lag ? kept(task, memory) : sampled;
        if (opts.lag) keep(memory, sampled);
        if (!whole) return;
        const trajectory = upTo(whole, stochastic.at(-1)! + 1);
        const scored = opts.compat.includes('wrong-prompts') ? prompts : trajectory.prompts;
        const reward = smoothedGradient(task, opts.smoothing, opts.smoothingNoise, round);
        const { score, gradient } = await reward(whole.x.at(-1)!, scored);
        const end = (await decodedEnd(reward, whole, trajectory, scored)) ?? gradient;
        const choices = Array.from({ length: opts.updates }, (_, update) => {
          const key = { seed: task.seed, stream: `nabla-db ${update}`, step: round };
          return trajectory.prompts.map((_, item) =>
            chooseTransitions(stochastic.length, opts.fraction, opts.subsampling, key, item).map((i) => stochastic[i]!));
        });
        const known = scaled(end, () => trajectory.steps.at(-1)!.to);
        const scores = await carried?.carry(trajectory, known, Math.min(...choices.flat(2)));
        for (const [update, chosen] of choices.entries()) {
          const draws = chosen[0]!.length;
          const total = meanOfParts();
          const metrics: Record<string, number> = {};
          for (let j = 0; j < draws; j++) {
            const t = transitionAt(task, trajectory, chosen.map((indices) => indices[j]!));
            const flows = await rewardFlow(reward, t, trajectory, scored, end, opts.lag || update > 0);
            const part = await loss.run(t, { ...flows, ...(scores && ends(t, scores)) }, trajectory.prompts, round * opts.updates + update, j);
            total.add(part);
            for (const [name, term] of Object.entries(part.extras)) metrics[name] = (metrics[name] ?? 0) + Number(term.data[0]) / draws;
            await pause();
          }
          const made = { ...total.mean(), rewards: score, metrics };
          if (opts.compat.includes('double-step')) yield { ...made, gradients: copied(made.gradients) };
          yield made;
        }
      },
      async release() {
        await roller.release();
        await guess?.release();
        await carried?.release();
        await loss.release();
      },
    };
  },
};

const copied = (gradients: ReadonlyMap<string, HostTensor>): Map<string, HostTensor> =>
  new Map([...gradients].map(([name, g]) => [name, { ...g, data: g.data.slice() } as HostTensor]));

/** Noise for new x', of the tuned model and of the prior, for `fresh-next`. */
function freshNoise(task: Task, count: number, update: number, draw: number): Record<string, HostTensor> {
  const items = Array.from({ length: count }, (_, i) => i);
  const of = (name: string): HostTensor => samplesOf(task, drawNoise(
    (_, item, count) => normal({ seed: task.seed, stream: `${name} ${draw}`, step: update }, item, count), 0, items, sampleSize(task)));
  return { 'fresh tuned': of('fresh tuned'), 'fresh prior': of('fresh prior') };
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

/** Whether whole trajectories are balanced: what the other variants balance is known of single transitions only. */
const followsPaths = ({ path, flow, residual, reverseGradient, compat }: NablaOptions): boolean =>
  path > 0 && flow && residual && reverseGradient === 'flow-only' && !compat.includes('scaled-reverse');

/**
 * Compiles the losses of a batch of transitions and their gradients by θ and φ.
 *
 * @param paths whether carried scores will be given
 */
export async function openTransitionLoss(task: Task, opts: NablaOptions, paths = false) {
  const at = (name: string): Tensor => sampleInput(task, name);
  const flow = opts.flow ? task.auxiliary('flow', { prompted: !opts.compat.includes('promptless-flow') }) : null;
  const [x, next, output, rewardNow, rewardNext] = ['x', 'next', 'output', 'reward now', 'reward next'].map(at) as [Tensor, Tensor, Tensor, Tensor, Tensor];
  const [last, noisedMean, noisedStd, power] = ['last', 'noised mean', 'noised std', 'power'].map((name) => itemInput(task, name, [1, 1, 1])) as [Tensor, Tensor, Tensor, Tensor];
  const fresh = opts.compat.includes('fresh-next') ? ([at('fresh tuned'), at('fresh prior')] as const) : null;
  const carried = paths ? { now: at('carried now'), next: at('carried next') } : null;
  const [step, after] = [stepsInput(task, 'step'), stepsInput(task, 'after')];
  const { forward, reverse, terminal, tuned } = balanceLosses(
    task, flow, opts, { x, next, step, after, last, rewardNow, rewardNext, carried, fresh, power, noised: { mean: noisedMean, std: noisedStd } },
  );
  const trust = mean(square(sub(tuned, output)));
  const terms: Record<string, Tensor> = {
    forward, trust, ...(reverse && { reverse }), ...(terminal && { terminal }),
  };
  const weights: Record<string, number> = { forward: 1, reverse: opts.reverse, terminal: 1, trust: opts.trust };
  const total = Object.entries(terms).map(([name, t]) => mul(t, weights[name]!)).reduce((a, b) => add(a, b));
  const symbols = new Map([...task.symbols, ...(flow?.symbols ?? [])]);
  // Forward through the tuned network, through the reference where it is balanced against, and through g_φ at x' and x.
  const networks = opts.residual || fresh ? 2 : 1;
  const flows = flow ? (reverse ? 2 : 1) : 0;
  const graph = await openLoss(task, total, { over: 'mean', extras: terms, calls: networks * task.callsPerSample + flows, symbols });

  const column = (values: readonly number[]): HostTensor => host(Float32Array.from(values), [values.length, 1, 1, 1]);
  return {
    flow,
    run(t: Transition, scores: Scores, prompts: readonly string[], update: number, draw: number) {
      const noised = t.steps.map(({ from, to }) => bridge(to, from));
      const ends = t.steps.map((s) => ({ ...s, timestep: s.nextTimestep, from: s.to }));
      return graph.run({
        x: t.x, next: t.next, output: t.output, 'reward now': scores.now, 'reward next': scores.next,
        ...(paths && { 'carried now': scores.carriedNow!, 'carried next': scores.carriedNext! }),
        last: column(t.last),
        ...(paths && { power: column(t.steps.map(({ to }) => signalPower(to))) }),
        ...(!opts.residual && { 'noised mean': column(noised.map(({ mean }) => mean)), 'noised std': column(noised.map(({ std }) => std)) }),
        step: stepFeed(t.steps), after: stepFeed(ends),
        ...(fresh && freshNoise(task, prompts.length, update, draw)),
        ...Object.fromEntries(flow?.parameters ?? []),
      }, prompts);
    },
    release: () => graph.release(),
  };
}

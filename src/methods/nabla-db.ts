/** @file ∇-DB: fine-tuning by the gradients of a GFlowNet's detailed balance, residual to the pre-trained model. */
import { z } from 'zod';
import type { HostTensor } from '../graph/dtype.js';
import { signalPower } from '../schedulers/process.js';
import type { NoiseLevel } from '../schedulers/process.js';
import { openCarriedScores } from './carried-scores.js';
import { openBalance } from './detailed-balance.js';
import type { Method } from './method.js';
import { openRewardGuess } from './reward-guess.js';
import { perItem } from './reward-loss.js';
import { forItems } from './rollout.js';
import { chainOptions, openChains } from './shifted-reference.js';
import type { Chain } from './shifted-reference.js';
import type { Task } from './task.js';
import { pick } from './transitions.js';
import type { Transition } from './transitions.js';

const options = z.strictObject({
  beta: z.number().nonnegative().default(1e3)
    .describe('β: the model sampled in the end is prior · exp(β·reward). 1e3 (default_config.py), 1e4 for aesthetic and '
      + 'HPSv2.'),
  gamma: z.enum(['alpha-bar', 'sqrt-alpha-bar', 'one']).default('alpha-bar')
    .describe('γ_t of the guess: ā (published code, `squared`), √ā (paper) or 1.'),
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
  guess: z.enum(['tuned', 'base']).default('tuned')
    .describe('Whose x̂0 ∇ log R is taken at: that of the tuned model (published), or of the base model.'),
  weighting: z.enum(['score', 'sigma']).default('score')
    .describe('Balance of scores (published), or of scores times σ_t as in RSM, which evens out the steps.'),
  priorStrength: z.number().nonnegative().default(1)
    .describe('Factor of the prior\'s score (`pretrained_strength`).'),
  residual: z.boolean().default(true)
    .describe('Balance against the pre-trained model (Residual ∇-DB), or against the noising process alone, which forgets '
      + 'it.'),
  ...chainOptions,
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
  outdated({ compat, guess, flow, gamma }) {
    if (compat !== undefined) return 'compat: the mistakes of the published code are no settings any more; leave it out';
    if (guess !== 'final') return null;
    const same = flow === false && gamma === 'one' ? '; beta stays, trust is 1e3 and fraction 0.1 where you gave none' : '';
    return `guess: final, the reward's gradient at the finished sample, is the method rsm: use --method rsm${same}`;
  },
  needs: { differentiableReward: true, density: true },
  sampling: { noise: 1, noisyEnd: true },
  async create(task, opts) {
    const chains = await openChains(task, opts);
    const guesses = await openGuesses(task, opts);
    const carried = followsPaths(opts) ? await openCarriedScores(task) : null;
    const balance = await openBalance(task, opts, carried !== null);
    const { flow } = balance;
    return {
      ...(flow && { own: { parameters: flow.parameters, lr: opts.flowLr, weightDecay: opts.flowWeightDecay } }),
      memory: chains.memory,
      async *round(prompts, round) {
        const chain = await chains.sample(prompts, round);
        if (!chain) return;
        const { trajectory, choices } = chain;
        const end = await guesses.atEnd(chain);
        const known = guesses.scaled(end, () => trajectory.steps.at(-1)!.to);
        const scores = await carried?.carry(trajectory, known, Math.min(...choices.flat(2)));
        yield* chains.learn(chain, async (t, stale) => balance.run(t, {
          // The last transition has no reverse loss.
          now: guesses.scaled(balance.reverses && t.last.includes(0) ? await guesses.at(chain, t, 0, end, stale) : end, (b) => t.steps[b]!.from),
          next: guesses.scaled(await guesses.at(chain, t, 1, end, stale), (b) => t.steps[b]!.to),
          ...(scores && { carriedNow: pick(task, scores, t.indices), carriedNext: pick(task, scores, t.indices.map((i) => i + 1)) }),
        }, trajectory.prompts));
      },
      async release() {
        await chains.release();
        await guesses.release();
        await carried?.release();
        await balance.release();
      },
    };
  },
};

/** Whether whole trajectories are balanced: what the other variants balance is known of single transitions only. */
const followsPaths = ({ path, flow, residual, reverseGradient }: NablaOptions): boolean =>
  path > 0 && flow && residual && reverseGradient === 'flow-only';

/** ∇ log R along a chain, guessed from x̂0; and β·γ. */
async function openGuesses(task: Task, { guess: whose, gamma, beta, lag }: NablaOptions) {
  const guess = await openRewardGuess(task, whose === 'base' ? 'reference' : 'tuned');
  const factor = GAMMA[gamma];
  return {
    /** β·γ of each item's level, times g. */
    scaled: (g: HostTensor, level: (item: number) => NoiseLevel): HostTensor => perItem(task, g, (item) => beta * factor(level(item))),

    /** At x (`shift` 0) or x' (1) of transitions, [B, C, h, w]; at the ends of the chains it is known. */
    async at({ trajectory: { steps, outputs, prompts }, reward }: Chain, t: Transition, shift: 0 | 1, end: HostTensor, stale: boolean): Promise<HostTensor> {
      const indices = t.indices.map((i) => i + shift);
      if (indices.every((i) => i === steps.length)) return end;
      const known = stale || whose === 'base' ? undefined : pick(task, outputs, indices);
      return guess.gradient(reward, shift === 0 ? t.x : t.next, indices.map((i) => steps[i]!), prompts, known);
    },

    /**
     * At the ends of the chains: that of the finished samples; or, where steps without noise make these of the ends, that of
     * x̂0 there. It is all the reward that there is, so γ is taken out beforehand.
     */
    async atEnd({ whole, trajectory: { steps, x }, reward, finished }: Chain): Promise<HostTensor> {
      const next = whole.steps[steps.length];
      if (!next) return finished.gradient;
      const known = lag || whose === 'base' ? undefined : whole.outputs[steps.length];
      const gradient = await guess.gradient(reward, x.at(-1)!, forItems(whole.prompts.length, next), whole.prompts, known);
      return perItem(task, gradient, () => 1 / factor(steps.at(-1)!.to));
    },

    release: () => guess.release(),
  };
}

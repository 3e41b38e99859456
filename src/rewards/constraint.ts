/**
 * @file A reward that must not fall below (or rise above) a bound while others rise, by the augmented Lagrangian.
 *
 * Asked for is max E[r] subject to E[g] ≥ b. With the violation v = (b − E[g])/σ_g and S = σ_r, deviations between the base
 * model's images, the augmented Lagrangian of Rockafellar (1973) with penalty ρ and multiplier λ,
 *
 *     E[r] − S/(2ρ) · (max(0, λ/S + ρ·v)² − (λ/S)²),
 *
 * has the gradient of E[r + μ·(g − b)/σ_g] with μ = max(0, λ + ρ·S·v): a weighted sum whose weight follows the violation. An
 * inner problem is taken to last 1/rate updates: v is a running mean over as many, and λ takes up ρ·S·v over as many. That is
 * a controller with a proportional and an integral part (Stooke et al. 2020, arXiv 2007.03964).
 */
import { z } from 'zod';
import { scaleOf } from './base-measures.js';
import type { BaseUnits } from './base-measures.js';
import { parseReward, RewardSpecError } from './registry.js';
import type { RewardSpec } from './registry.js';
import type { Reward, RewardPart } from './reward.js';
import { movingTerm } from './terms.js';

export interface ConstraintSpec {
  /** As the user wrote it. */
  readonly text: string;
  readonly reward: RewardSpec;
  /** 1: at least; −1: at most. */
  readonly sign: 1 | -1;
  /** A number, or so much above the base model: in the reward's units and in deviations between the base model's images. */
  readonly bound: number | { readonly plus: number; readonly deviations: number };
}

/** How quickly multipliers follow. */
export interface MultiplierOptions {
  /** ρ: weight of a deviation of violation, in deviations of what is asked for. */
  readonly penalty: number;
  readonly rate: number;
}

const FORM = 'NAME[?option=value]>=BOUND or <=BOUND, where BOUND is a number, base (what the base model has), or base-0.5sd (half a deviation of its images below)';

/** Reads `NAME>=BOUND`. @throws RewardSpecError */
export function parseConstraint(text: string): ConstraintSpec {
  const [, name, relation, bound] = /^(.*)(>=|<=)([^<>]*)$/s.exec(text) ?? [];
  if (name === undefined) throw new RewardSpecError(`"${text}" is no constraint; write ${FORM}.`);
  const reward = parseReward(name);
  if (reward.weight !== 1 || reward.mean !== 0 || reward.std !== 1 || reward.min !== undefined || reward.max !== undefined) {
    throw new RewardSpecError(`The constraint on ${reward.name} takes the reward as it is: leave out weight, mean, std, min and max.`);
  }
  const [, base, plus, sd] = /^\s*(base)?\s*([+-]?\s*[\d.]+(?:e[+-]?\d+)?)?\s*(sd)?\s*$/i.exec(bound!) ?? [];
  const number = plus === undefined ? (base === undefined ? NaN : 0) : Number(plus.replaceAll(/\s/g, ''));
  const relative = base !== undefined;
  if (!Number.isFinite(number) || (sd !== undefined && (!relative || plus === undefined)) || (relative && plus !== undefined && !/^[+-]/.test(plus))) {
    throw new RewardSpecError(`The constraint on ${reward.name} has the bound "${bound!.trim()}"; write ${FORM}.`);
  }
  return {
    text, reward, sign: relation === '>=' ? 1 : -1,
    bound: relative ? { plus: sd === undefined ? number : 0, deviations: sd === undefined ? 0 : number } : number,
  };
}

export const constraintStateSchema = z.object({
  /** λ, in units of what is asked for by deviation of the constrained reward. */
  multiplier: z.number().nonnegative(),
  /** Running mean of the violation, in deviations between the base model's images; above 0 where the constraint is broken. */
  violation: z.number(),
});

export type ConstraintState = Readonly<z.infer<typeof constraintStateSchema>>;

export interface Constraint {
  /** The reward's. */
  readonly name: string;
  /** "self-alignment >= base", say. */
  readonly text: string;
  readonly sign: 1 | -1;
  readonly reward: Reward;
  /** Its pull, in the sum that is trained on. */
  readonly part: RewardPart;
  /** What is asked of an image, or a mean, for which the base model has `base`. */
  boundFor(base: number): number;
  state: ConstraintState;
  /** Takes in what the reward gave in an update. @returns the mean of it, and its violation in deviations */
  observe(scores: ArrayLike<number>): { readonly mean: number; readonly violation: number };
}

/** @param base measured by the time that anything is scored */
export function openConstraint({ text, sign, bound }: ConstraintSpec, reward: Reward, base: BaseUnits, { penalty, rate }: MultiplierOptions): Constraint {
  const { name } = reward;
  const unit = (): number => penalty * (base.measured?.objective.std ?? 1);
  const deviation = (): number => scaleOf(base, name).std;
  const boundFor = (of: number): number => (typeof bound === 'number' ? bound : of + bound.plus + bound.deviations * deviation());
  const limit = (): number => boundFor(scaleOf(base, name).mean);
  const constraint: Constraint = {
    name, sign, reward, boundFor, text: text.replace(/\s*([<>]=)\s*/, ' $1 '),
    part: {
      reward,
      term: movingTerm(`constraint/${name}`, 'μ · ', () => {
        const { multiplier, violation } = constraint.state;
        return { offset: limit(), slope: (sign * Math.max(0, multiplier + unit() * violation)) / deviation() };
      }),
    },
    state: { multiplier: 0, violation: 0 },
    observe(scores) {
      const mean = Array.from(scores).reduce((a, b) => a + b, 0) / scores.length;
      const violation = (sign * (limit() - mean)) / deviation();
      const { multiplier, violation: before } = constraint.state;
      constraint.state = {
        multiplier: Math.max(0, multiplier + rate * unit() * violation),
        violation: before + rate * (violation - before),
      };
      return { mean, violation };
    },
  };
  return constraint;
}

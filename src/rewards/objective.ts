/** @file What a run is trained on: rewards that are summed, in units of the base model if wished, and constraints on others. */
import { z } from 'zod';
import { baseMeasuresSchema, scaleOf } from './base-measures.js';
import type { BaseMeasures, BaseUnits } from './base-measures.js';
import { constraintStateSchema, openConstraint } from './constraint.js';
import type { Constraint, ConstraintSpec, MultiplierOptions } from './constraint.js';
import { cutAsSaid, openEach, openRewards, RewardSpecError } from './registry.js';
import type { RewardSpec, RewardSurroundings } from './registry.js';
import type { Reward, RewardPart } from './reward.js';
import type { ScorerOptions } from './scorer.js';
import { fixedTerm, movingTerm } from './terms.js';
import { sumOf } from './weighted.js';

export const objectiveStateSchema = z.object({
  base: baseMeasuresSchema,
  constraints: z.record(z.string(), constraintStateSchema),
});

/** Plain values, which checkpoints keep. */
export type ObjectiveState = Readonly<z.infer<typeof objectiveStateSchema>>;

/** The scores of an update, seen from here. */
export interface ObjectiveRow {
  /** Mean of what is asked for, without the pull of constraints; not there if nothing was scored in the round so far. */
  readonly reward?: number;
  /** Of each constraint: value, violation and multiplier. */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Objective {
  /** What methods see: constraints pull on it. */
  readonly trained: Reward;
  /** What evaluations see: the sum as it is asked for; constraints are only measured. */
  readonly judged: Reward;
  readonly constraints: readonly Constraint[];
  /** Whether the base model must be measured before anything is scored. */
  readonly needsBase: boolean;
  /** Takes the base model's scores, each reward's by name. @throws RewardSpecError for a reward that has no deviation */
  measured(scores: ReadonlyMap<string, ArrayLike<number>>): void;
  base(): BaseMeasures | null;
  /** Null before the base model is measured, and for what has nothing to keep. */
  state(): ObjectiveState | null;
  restore(state: ObjectiveState): void;
  /** Hears of scores that `trained` gave, with those of its parts; null if nobody needs to. */
  readonly hear: ((scores: Float32Array, parts: ReadonlyMap<string, Float32Array>) => void) | null;
  /** A round begins: what was scored before it counts no more. */
  begin(): void;
  /**
   * An update was made; multipliers follow.
   *
   * @param rewards the update's scores: if they are as `hear` got them these count, else all since the last update
   */
  after(rewards: Float32Array): ObjectiveRow;
}

export interface ObjectiveOptions extends MultiplierOptions {
  /** Count each reward in deviations from the base model's mean, unless it has a mean or deviation of its own. */
  readonly normalise: boolean;
  /** A caller's own, in place of those that are named. */
  readonly own?: Reward | undefined;
}

function moments(scores: ArrayLike<number>): { mean: number; std: number } {
  const values = Array.from(scores);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { mean, std: Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / Math.max(1, values.length - 1)) };
}

/** Opens all of it. @throws RewardSpecError, FormatError as `openRewards` */
export async function openObjective(
  specs: readonly RewardSpec[], constrained: readonly ConstraintSpec[], { normalise, own, ...multipliers }: ObjectiveOptions,
  options: ScorerOptions & RewardSurroundings = {},
): Promise<Objective> {
  if (constrained.length === 0 && !normalise) return plain(own ?? await openRewards(specs, options));
  const base: BaseUnits = { measured: null };
  const used = new Map<string, number>();
  const inUnits: string[] = [];
  const asked = own ? ownParts(own) : (await openEach(specs, options, used)).map((reward, i): RewardPart => {
    const spec = specs[i]!;
    const { weight, mean, std, min, max } = spec;
    if (!normalise || mean !== 0 || std !== 1) return { reward: cutAsSaid(reward, spec), term: fixedTerm(spec) };
    inUnits.push(reward.name);
    const now = () => {
      const scale = scaleOf(base, reward.name);
      return { offset: scale.mean, slope: 1 / scale.std };
    };
    return { reward, term: movingTerm(`base/${reward.name}`, '', now, { weight, ...(min !== undefined && { low: min }), ...(max !== undefined && { high: max }) }) };
  });
  const bounded = await openEach(constrained.map((c) => c.reward), options, used).catch(async (error: unknown) => {
    for (const { reward } of asked) await reward.release?.();
    throw error;
  });
  const constraints = bounded.map((reward, i) => openConstraint(constrained[i]!, reward, base, multipliers));
  const trained = sumOf([...asked, ...constraints.map((c) => c.part)], options);
  const judged = constraints.length === 0 ? trained
    : sumOf([...asked, ...constraints.map(({ reward }) => ({ reward, term: fixedTerm({ weight: 0 }) }))], options);
  return {
    trained, judged, constraints, needsBase: true, ...baseOf({ base, asked, constraints, inUnits }), ...watch(asked, constraints),
  };
}

/** A caller's own sum stays one. */
const ownParts = (own: Reward): readonly RewardPart[] => own.parts ?? [{ reward: own, term: fixedTerm({}) }];

/** Nothing to measure and nothing to keep. */
const plain = (reward: Reward): Objective => ({
  trained: reward, judged: reward, constraints: [], needsBase: false, base: () => null, hear: null,
  measured: () => {}, state: () => null, restore: () => {}, begin: () => {}, after: () => ({ metrics: {} }),
});

interface Opened {
  readonly base: BaseUnits;
  readonly asked: readonly RewardPart[];
  readonly constraints: readonly Constraint[];
  /** Rewards that are counted in the base model's deviations. */
  readonly inUnits: readonly string[];
}

function baseOf({ base, asked, constraints, inUnits }: Opened): Pick<Objective, 'base' | 'measured' | 'state' | 'restore'> {
  return {
    base: () => base.measured,
    measured(scores) {
      const rewards = Object.fromEntries([...scores].map(([name, of]) => [name, moments(of)]));
      const images = [...scores.values()][0]!.length;
      for (const name of [...inUnits, ...constraints.map((c) => c.name)]) {
        if (rewards[name]!.std > 0) continue;
        throw new RewardSpecError(`Reward ${name} gives ${rewards[name]!.mean} to each of ${images} images of the base model, so that it has no deviation to be counted in. `
          + (inUnits.includes(name) ? 'Give it a mean and std of its own, or leave --normalise out.' : 'It cannot be constrained on these prompts; give it a weight among the rewards instead.'));
      }
      base.measured = { images, rewards, objective: { mean: 0, std: 1 } };
      const total = moments(Array.from({ length: images }, (_, i) => asked.reduce((sum, { reward, term }) => sum + term.value(scores.get(reward.name)![i]!), 0)));
      base.measured = { images, rewards, objective: total.std > 0 ? total : { ...total, std: 1 } };
    },
    state: () => base.measured && { base: base.measured, constraints: Object.fromEntries(constraints.map((c) => [c.name, c.state])) },
    restore(state) {
      base.measured = state.base;
      for (const c of constraints) c.state = state.constraints[c.name] ?? c.state;
    },
  };
}

/** Follows what is scored, for the sake of constraints. */
function watch(asked: readonly RewardPart[], constraints: readonly Constraint[]): Pick<Objective, 'hear' | 'begin' | 'after'> {
  const heard = new Map<Float32Array, ReadonlyMap<string, Float32Array>>();
  let last: ReadonlyMap<string, number>[] = [];
  const images = (parts: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, number>[] =>
    Array.from([...parts.values()][0]!, (_, i) => new Map([...parts].map(([name, scores]) => [name, scores[i]!])));
  const sumFor = (image: ReadonlyMap<string, number>): number => asked.reduce((sum, { reward, term }) => sum + term.value(image.get(reward.name)!), 0);
  return {
    hear: constraints.length === 0 ? null : (scores, parts) => void heard.set(scores, parts),
    begin() {
      heard.clear();
      last = [];
    },
    after(rewards) {
      const own = heard.get(rewards);
      const found = (own ? [own] : [...heard.values()]).flatMap(images);
      heard.clear();
      const metrics = constraints.flatMap((c): [string, number][] => {
        const seen = found.length > 0 ? c.observe(found.map((image) => image.get(c.name)!)) : null;
        return [...(seen ? [[`constraint/${c.name}`, seen.mean], [`violation/${c.name}`, seen.violation]] as [string, number][] : []), [`multiplier/${c.name}`, c.state.multiplier]];
      });
      if (found.length > 0) last = found;
      return {
        ...(last.length > 0 && { reward: last.reduce((sum, image) => sum + sumFor(image), 0) / last.length }),
        metrics: Object.fromEntries(metrics),
      };
    },
  };
}

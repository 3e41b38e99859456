/** @file A tuned model beside its base model on the same prompts and noise: the numbers that a run is told by. */
import { z } from 'zod';
import { bootstrapInterval } from './bootstrap.js';
import { deviation, evaluationSchema, groupMeans, pairedDifference } from './evaluation.js';
import type { Judged } from './hacking-guard.js';
import { numberText } from './ticks.js';
import { winsOf } from './win-rate.js';

export const setSchema = z.object({
  /** The list that the prompts are from. */
  list: z.string(),
  /** How many of them. */
  prompts: z.number(),
  images: z.number(),
  /** Of the first image's noise; the others follow. */
  seed: z.number(),
  /** Whether none of the prompts is trained on. */
  untrained: z.boolean(),
});

/** Tuned less base (but for wins), a mean a prompt in the order of their first appearance. */
const changesSchema = z.object({
  /** Of the reward, in standard deviations of the base model's images; empty if those all have the same reward. */
  gain: z.array(z.number()),
  /** Share of a prompt's images with more reward than the base model's of the same noise. */
  wins: z.array(z.number()).optional(),
  heldOut: z.array(z.number()).optional(),
  diversity: z.array(z.number()).optional(),
});

export const comparedSchema = z.object({
  on: setSchema,
  base: evaluationSchema,
  tuned: evaluationSchema,
  /** Of the reward, in standard deviations of the base model's images; null if those all have the same reward. */
  gainInDeviations: z.number().nullable(),
  /** Standard error of that over prompts (over images where there is one prompt), in the same unit. */
  gainError: z.number().nullable(),
  /** Runs of before have none. */
  changes: changesSchema.optional(),
});

export type SetFacts = Readonly<z.infer<typeof setSchema>>;
export type Compared = Readonly<z.infer<typeof comparedSchema>>;
export type Changes = Readonly<z.infer<typeof changesSchema>>;

interface Measured {
  readonly evaluation: Judged;
  readonly rewards: Float32Array;
  /** The prompt of each image. */
  readonly prompts: readonly string[];
}

/** Means of after − before over the images of each prompt. */
const byPrompt = (prompts: readonly string[], before: ArrayLike<number>, after: ArrayLike<number>, unit = 1): number[] =>
  groupMeans(Array.from(before, (b, i) => (after[i]! - b) / unit), prompts);

/** @param base and `tuned`: of the same prompts and noise, image by image */
export function compared(on: SetFacts, base: Measured, tuned: Measured): Compared {
  const groups = on.prompts > 1 ? base.prompts : undefined;
  const { mean, error } = pairedDifference(base.rewards, tuned.rewards, groups);
  const unit = deviation(base.rewards);
  const [from, to] = [base.evaluation, tuned.evaluation];
  const changes: Changes = {
    gain: unit > 0 ? byPrompt(base.prompts, base.rewards, tuned.rewards, unit) : [],
    wins: groupMeans(winsOf(base.rewards, tuned.rewards), base.prompts),
    ...(from.heldOutScores && to.heldOutScores && { heldOut: byPrompt(base.prompts, from.heldOutScores, to.heldOutScores) }),
    ...(from.diversities && to.diversities && { diversity: to.diversities.map((d, i) => d - from.diversities![i]!) }),
  };
  return {
    on,
    changes,
    base: evaluationSchema.parse(base.evaluation),
    tuned: evaluationSchema.parse(tuned.evaluation),
    gainInDeviations: unit > 0 ? mean / unit : null,
    gainError: unit > 0 && error !== null ? error / unit : null,
  };
}

/** "16 prompts of heldout that are not trained on, 32 images, seeds from 1000000". */
export function setText({ list, prompts, images, seed, untrained }: SetFacts): string {
  const kind = untrained ? 'that are not trained on' : 'of the training';
  return `${prompts} prompts of ${list} ${kind}, ${images} images, seeds from ${seed}`;
}

/** "+2.31 ± 0.14", in standard deviations of the base model's images; empty where they have no deviation. */
export function gainText({ gainInDeviations: gain, gainError: error }: Pick<Compared, 'gainInDeviations' | 'gainError'>): string {
  if (gain === null) return '';
  return `${gain < 0 ? '−' : '+'}${Math.abs(gain).toFixed(2)}${error === null ? '' : ` ± ${error.toFixed(2)}`}`;
}

const signed = (x: number): string => `${x < 0 ? '−' : '+'}${numberText(Math.abs(x))}`;

/** "+0.81 to +1.48": the 95% bootstrap interval of a change over prompts; empty where there is none. */
export function intervalText(changes: readonly number[] | undefined): string {
  const interval = changes && bootstrapInterval(changes);
  return interval ? `${signed(interval.low)} to ${signed(interval.high)}` : '';
}

/** @file What one evaluation measured. A measure that was not taken is not there: 0 would be a finding. */
import { z } from 'zod';

/** The fields of an evaluation; `evaluationSchema` checks that they belong together. */
export const evaluationFields = z.object({
  /** Updates done. */
  step: z.number(),
  /** Mean reward that is trained on. */
  reward: z.number(),
  /** Of a weighted sum: the means of its rewards, as they are, by name. */
  rewardParts: z.record(z.string(), z.number()).optional(),
  /** Mean of a reward that is not trained on, from an independent judge. */
  heldOutReward: z.number().optional(),
  /** Standard error of that mean: the deviation between images over √(their number). There whenever the mean is. */
  heldOutError: z.number().optional(),
  /** Mean pairwise feature distance within a prompt. */
  diversity: z.number().optional(),
  /** Fréchet distance to the base model's samples of the same prompts and noise; its own is 0. */
  frechet: z.number().optional(),
});

/** An evaluation, of images made from the same prompts and noise each time. */
export type Evaluation = Readonly<z.infer<typeof evaluationFields>>;

/** Refuses a judge's mean without its error: whatever compares two of them would take the error for 0. */
export const withHeldOutError = <T extends z.ZodType<Pick<Evaluation, 'heldOutReward' | 'heldOutError'>>>(schema: T): T =>
  schema.refine((e) => (e.heldOutReward === undefined) === (e.heldOutError === undefined),
    { path: ['heldOutError'], message: 'must be there exactly where heldOutReward is' });

export const evaluationSchema = withHeldOutError(evaluationFields);

/** Of a list that is not empty. */
export const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Sample deviation. */
export function deviation(values: ArrayLike<number>): number {
  const list = Array.from(values);
  const mean = meanOf(list);
  return Math.sqrt(list.reduce((s, v) => s + (v - mean) ** 2, 0) / Math.max(1, list.length - 1));
}

/** A mean difference and its standard error; no error where there is a single difference. */
export interface Difference {
  readonly mean: number;
  readonly error: number | null;
}

/**
 * Mean of after − before over images that were made from the same prompts and noise, with the standard error of that
 * mean: what the pairs have in common cancels, which is most of the variance.
 *
 * @param groups what belongs together, a name an image: the error is then that between the groups' means, as it must be
 * if it is to tell what another choice of groups (prompts, say) would give. Default: each image by itself.
 */
export function pairedDifference(before: ArrayLike<number>, after: ArrayLike<number>, groups?: readonly string[]): Difference {
  if (before.length !== after.length) throw new Error(`pairs of ${before.length} and ${after.length} images`);
  const each = Array.from(before, (v, i) => after[i]! - v);
  const means = groups ? [...new Set(groups)].map((g) => meanOf(each.filter((_, i) => groups[i] === g))) : each;
  return { mean: meanOf(means), error: means.length < 2 ? null : deviation(means) / Math.sqrt(means.length) };
}

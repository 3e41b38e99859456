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
  /** Fréchet distance to the base model's samples of the same prompts and noise; its own is 0, as are the next four. */
  frechet: z.number().optional(),
  /** Of infinitely many images; only of more images than the space has dimensions. */
  frechetInfinity: z.number().optional(),
  /** Kernel distance of the same two sets, without the Fréchet distance's bias; may be negative. */
  kid: z.number().optional(),
  /** How far an image is from the base model's of the same prompt and noise: mean distance in the feature space. */
  drift: z.number().optional(),
  /** The same by LPIPS. */
  driftLpips: z.number().optional(),
  /** Share of the images with more reward than the base model's of the same prompt and noise, with its 95% interval. The base model has none. */
  winRate: z.number().optional(),
  winRateLow: z.number().optional(),
  winRateHigh: z.number().optional(),
  /** The same by the judge. */
  heldOutWinRate: z.number().optional(),
  heldOutWinRateLow: z.number().optional(),
  heldOutWinRateHigh: z.number().optional(),
});

/** An evaluation, of images made from the same prompts and noise each time. */
export type Evaluation = Readonly<z.infer<typeof evaluationFields>>;

/** Refuses a judge's mean without its error: whatever compares two of them would take the error for 0. */
export const withHeldOutError = <T extends z.ZodType<Pick<Evaluation, 'heldOutReward' | 'heldOutError'>>>(schema: T): T =>
  schema.refine((e) => (e.heldOutReward === undefined) === (e.heldOutError === undefined),
    { path: ['heldOutError'], message: 'must be there exactly where heldOutReward is' });

export const evaluationSchema = withHeldOutError(evaluationFields);

/** Of a list; NaN of an empty one. */
export function meanOf(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total / values.length;
}

/** The means of each group's values, in the order of the groups' first appearance. @param groups a name for each value */
export function groupMeans(values: readonly number[], groups: readonly string[]): number[] {
  const sums = new Map<string, { sum: number; count: number }>();
  for (const [i, group] of groups.entries()) {
    const { sum, count } = sums.get(group) ?? { sum: 0, count: 0 };
    sums.set(group, { sum: sum + values[i]!, count: count + 1 });
  }
  return [...sums.values()].map(({ sum, count }) => sum / count);
}

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
  const means = groups ? groupMeans(each, groups) : each;
  return { mean: meanOf(means), error: means.length < 2 ? null : deviation(means) / Math.sqrt(means.length) };
}

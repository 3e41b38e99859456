/**
 * @file Dynamic loss scaling (Micikevicius et al., Mixed Precision Training, arXiv 1710.03740): what is below 2⁻²⁴ is zero
 * in float16, so gradients are as large there as they can be without overflowing.
 */
import { z } from 'zod';

export const lossScaleSchema = z.object({
  /** What gradients are multiplied by: a power of two, so that nothing is rounded. */
  scale: z.number().positive(),
  /** Updates since it was last changed. */
  since: z.int().nonnegative(),
});

export type LossScale = z.infer<typeof lossScaleSchema>;

/** Updates without overflow after which it is doubled. PyTorch waits for 2,000; runs here have a few hundred. */
const PATIENCE = 100;

/** Below this it is not the scale that overflows. */
const LEAST = 1;

export const firstLossScale = (): LossScale => ({ scale: 2 ** 16, since: 0 });

/**
 * The scale after an update.
 *
 * @param finite whether its gradient was; one that was not is to be skipped
 * @returns null where halving is of no more use: the gradient is not finite by itself
 */
export function nextLossScale({ scale, since }: LossScale, finite: boolean): LossScale | null {
  if (!finite) return scale / 2 < LEAST ? null : { scale: scale / 2, since: 0 };
  if (since + 1 < PATIENCE) return { scale, since: since + 1 };
  return { scale: Math.min(scale * 2, 2 ** 24), since: 0 };
}

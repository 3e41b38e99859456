/** @file Wilson's interval of a share: right for few trials and for shares near 0 and 1, where the usual one is not. */

export interface Share {
  readonly rate: number;
  readonly low: number;
  readonly high: number;
}

/**
 * Wilson 1927: the shares from which `successes` of `trials` lies within `z` standard errors. Half a success is a tie.
 *
 * @returns null without trials
 */
export function wilson(successes: number, trials: number, z = 1.96): Share | null {
  if (trials === 0) return null;
  const rate = successes / trials;
  const centre = (rate + (z * z) / (2 * trials)) / (1 + (z * z) / trials);
  const half = (z * Math.sqrt((rate * (1 - rate)) / trials + (z * z) / (4 * trials * trials))) / (1 + (z * z) / trials);
  // At the ends rounding would leave 1e-17.
  return { rate, low: successes === 0 ? 0 : Math.max(0, centre - half), high: successes === trials ? 1 : Math.min(1, centre + half) };
}

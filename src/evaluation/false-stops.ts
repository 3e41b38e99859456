/**
 * @file How sure the guard must be at each look, so that over a whole run, however long, it stops one that does nothing
 * wrong with at most a given chance.
 *
 * A rule stops a run when it holds at `patience` looks in a row, and among so many there is exactly one whose number is a
 * multiple of `patience`: the chance of a false stop is at most the sum of the chances at those looks alone (union bound,
 * whatever the looks have to do with each other). The bth of them may spend 1/(b(b + 1)) of the chance, which sums to 1
 * over runs without end: no number of evaluations need be fixed beforehand, and a run may be prolonged.
 */
import type { Difference } from './evaluation.js';
import { studentTail } from './student.js';

/** What one comparison at a look may err by. */
export interface Look {
  /** Its number; 1 is the first after the base model's. */
  readonly look: number;
  /** Looks that must agree before a run is stopped. */
  readonly patience: number;
  /** Comparisons of the rule at this look, any of which might err: with each earlier evaluation, say. */
  readonly comparisons: number;
}

/** The chance of erring that one comparison may have. @param chance of a false stop by this rule over the whole run */
function chanceOf({ look, patience, comparisons }: Look, chance: number): number {
  const block = Math.ceil(look / patience);
  return chance / (block * (block + 1)) / comparisons;
}

/**
 * Whether the mean of `count` differences is below 0 by more than chance makes it at a look: by Student's test, as if they
 * were independent and normal. A mean without an error is not chance.
 *
 * @param chance of a false stop by this rule over the whole run
 */
export function surelyBelow({ mean, error }: Difference, count: number, at: Look, chance: number): boolean {
  if (mean >= 0) return false;
  return error === null || error === 0 || studentTail(-mean / error, count - 1) < chanceOf(at, chance);
}

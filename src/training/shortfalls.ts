/** @file By how much an evaluation falls short of the bounds of constraints, image by image. */
import { pairedDifference } from '../evaluation/evaluation.js';
import type { Judged } from '../evaluation/hacking-guard.js';
import type { Constraint } from '../rewards/constraint.js';

/** @param base the base model's evaluation, of the same prompts and noise; not there if this is it */
export function withShortfalls(evaluation: Judged, base: Judged | undefined, constraints: readonly Constraint[]): Judged {
  if (constraints.length === 0) return evaluation;
  const from = (base ?? evaluation).constraintScores!;
  return {
    ...evaluation,
    shortfalls: Object.fromEntries(constraints.map(({ name, sign, boundFor }) => {
      const bounds = from[name]!.map((score) => sign * boundFor(score));
      return [name, pairedDifference(evaluation.constraintScores![name]!.map((score) => sign * score), bounds)];
    })),
  };
}

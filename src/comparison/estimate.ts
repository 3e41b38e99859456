/** @file How long a comparison will still take, from the runs that are done and the shares of those under way. */

export interface Progressed {
  readonly entry: string;
  /** 0: waiting, 1: done. */
  readonly share: number;
  /** Seconds that it took, or has taken; 0 for a run that was there before. */
  readonly seconds: number;
}

const mean = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;

/** Start-up would be taken for slowness before a run has come this far. */
const TELLING = 0.1;

/**
 * Seconds until all runs are done. A run is expected to take what runs of its entry took, or else what the others take;
 * null while nothing is known of any.
 *
 * @param lanes runs at a time
 */
export function secondsLeft(runs: readonly Progressed[], lanes: number): number | null {
  const whole = new Map<string, number>();
  for (const entry of new Set(runs.map((r) => r.entry))) {
    const own = runs.filter((r) => r.entry === entry && r.seconds > 0);
    const known = mean(own.filter((r) => r.share === 1).map((r) => r.seconds))
      ?? mean(own.filter((r) => r.share >= TELLING).map((r) => r.seconds / r.share));
    if (known !== null) whole.set(entry, known);
  }
  const otherwise = mean([...whole.values()]);
  if (otherwise === null) return null;
  const left = runs.filter((r) => r.share < 1).map((r) => Math.max(0, (whole.get(r.entry) ?? otherwise) - r.seconds));
  // No run is quicker for there being others beside it.
  return Math.max(left.reduce((a, b) => a + b, 0) / lanes, ...left, 0);
}

/** @file A colour for each run, which it keeps from chart to chart and visit to visit. */

const COUNT = 8;
const KEY = 'attune colours';

function read(): Record<string, number> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '{}') as Record<string, number>;
  } catch {
    return {};
  }
}

const given = read();

/** CSS variable of a run's colour: the one that the fewest others have, when it is first asked for. */
export function colorOf(run: string): string {
  if (!Object.hasOwn(given, run)) {
    const uses = Array.from({ length: COUNT }, (_, i) => Object.values(given).filter((c) => c === i).length);
    given[run] = uses.indexOf(Math.min(...uses));
    localStorage.setItem(KEY, JSON.stringify(given));
  }
  return `--series-${given[run]! % COUNT}`;
}

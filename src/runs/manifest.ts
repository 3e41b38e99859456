/** @file What a run is computed with, kept beside it: a run that goes on is compared with how it was begun. */
import { join } from 'node:path';
import { z } from 'zod';
import { ConfigError, FormatError } from '../formats/errors.js';
import { parseObject } from '../formats/json.js';
import { problemOf } from '../formats/plain-issues.js';
import { MOST_BYTES, readTextIfThere } from '../formats/whole-file.js';

const texts = z.record(z.string(), z.string());
const storedSchema = z.looseObject({
  inputs: texts.optional(), place: texts.optional(), changes: z.array(z.object({ time: z.string(), changed: texts })).optional(),
});

/** Names of inputs (weights, files, versions, the processor) with their digests or values. */
export type Inputs = Readonly<Record<string, string>>;

/** An input that was another one from some time on: before → after. */
export interface Change {
  readonly time: string;
  readonly changed: Readonly<Record<string, string>>;
}

export interface Manifest extends Readonly<Record<string, unknown>> {
  readonly inputs?: Inputs;
  /** Where it is computed: may change at any time, at the price of other rounding. */
  readonly place?: Readonly<Record<string, string>>;
  /** What was changed while the run was on its way, oldest first. */
  readonly changes?: readonly Change[];
}

const REMEDY = 'What the run was begun with can no longer be compared: bring the file back, or go on all the same with --force.';

/** The manifest in a run's folder; null if there is none. @throws FormatError if it is damaged */
export async function readManifest(folder: string): Promise<Manifest | null> {
  const path = join(folder, 'manifest.json');
  const text = await readTextIfThere(path, MOST_BYTES.json);
  if (text === null) return null;
  let value: Record<string, unknown>;
  try {
    value = parseObject(text, path);
  } catch (cause) {
    throw new FormatError(path, 'is damaged', REMEDY, { cause });
  }
  const parsed = storedSchema.safeParse(value);
  if (parsed.success) return parsed.data as Manifest;
  const problem = problemOf(parsed.error, value);
  throw new FormatError(path, `is damaged (${problem.path} ${problem.text})`, REMEDY);
}

const short = (value: string | undefined): string =>
  (value === undefined ? 'none' : /^[0-9a-f]{64}$/.test(value) ? value.slice(0, 12) : value);

/** What is not the same, in words, by name. */
function differences(then: Inputs, now: Inputs): Record<string, string> {
  const names = [...new Set([...Object.keys(then), ...Object.keys(now)])].toSorted();
  return Object.fromEntries(names.filter((n) => then[n] !== now[n]).map((n) => [n, `${short(then[n])} → ${short(now[n])}`]));
}

const told = (changed: Readonly<Record<string, string>>): string =>
  Object.entries(changed).map(([name, what]) => `${name} ${what}`).join('; ');

/**
 * The manifest of a run that goes on: as it is now, with the changes that there were.
 *
 * @param stored as the run was begun or last went on; null for a new one
 * @throws ConfigError telling what has changed, unless that is forced
 */
export function mergedManifest(
  stored: Manifest | null, now: Manifest, { path, force, warn }: { path: string; force: boolean; warn: (text: string) => void },
): Manifest {
  if (!stored) return now;
  const moved = differences(stored.place ?? {}, now.place ?? {});
  if (stored.place && Object.keys(moved).length > 0) {
    warn(`the run goes on in another place, so it is no longer the same to the last bit: ${told(moved)}`);
  }
  let changed = {};
  if (!stored.inputs && now.inputs) {
    warn(`${path} was begun by a version that did not write down what it computes with; whether that is the same cannot be checked`);
  } else if (stored.inputs && now.inputs) changed = differences(stored.inputs, now.inputs);
  const count = Object.keys(changed).length;
  if (count > 0 && !force) {
    throw new ConfigError(`${path} would not go on as it was begun; this has changed since: ${told(changed)}. `
      + 'Bring it back, start a new run, or go on all the same with --force; the change is then written down.');
  }
  if (count > 0) warn(`the run goes on with what has changed, as forced: ${told(changed)}`);
  const all = { ...(stored.place ? moved : {}), ...changed };
  const before = stored.changes;
  if (Object.keys(all).length === 0) return { ...now, ...(before && { changes: before }) };
  return { ...now, changes: [...(before ?? []), { time: new Date().toISOString(), changed: all }] };
}

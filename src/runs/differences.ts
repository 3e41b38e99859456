/** @file Two runs beside each other: in which settings and inputs they differ, and what came of it. */
import type { Evaluation } from '../evaluation/evaluation.js';
import { measuresOf } from '../evaluation/measures.js';
import { readManifest } from './manifest.js';
import type { Overview } from './overview.js';
import { leaves } from './settings.js';

/** A name, and what each of two runs has there. */
export type Pair<T> = readonly [name: string, a: T, b: T];

export interface Differences {
  /** By dotted name; undefined where a run has no such setting. */
  readonly settings: readonly Pair<unknown>[];
  /** Digests and versions of what they compute with; undefined where one is not written down. */
  readonly inputs: readonly Pair<string | undefined>[];
  /** All of them, equal or not; null where it was not measured. */
  readonly results: readonly Pair<number | string | null>[];
}

function different<T>(a: ReadonlyMap<string, T>, b: ReadonlyMap<string, T>): Pair<T | undefined>[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((key) => JSON.stringify(a.get(key)) !== JSON.stringify(b.get(key)))
    .map((key) => [key, a.get(key), b.get(key)] as const);
}

/** Measures of the best checkpoint where checkpoints are chosen, and how the run ended. */
function resultsOf({ state, step, base, best, guard }: Overview): Map<string, number | string | null> {
  const measures = (e: Evaluation | null): [string, number | null][] => (e === null ? [['reward', null]] : measuresOf([e]).flatMap(({ name, title }) => [
    [name === 'reward' ? name : title, e[name]!],
    ...(name === 'reward' ? Object.entries(e.rewardParts ?? {}).map(([part, r]): [string, number] => [`reward ${part}`, r]) : []),
  ]));
  return new Map<string, number | string | null>([
    ['state', state], ['steps done', step], ['base reward', base?.reward ?? null], ['best step', best?.step ?? null],
    ...measures(best).map(([name, value]) => [`best ${name}`, value] as const), ['guard', guard],
  ]);
}

export async function differencesOf(a: Overview, b: Overview): Promise<Differences> {
  const [then, now] = [resultsOf(a), resultsOf(b)];
  const inputs = async (run: Overview): Promise<Map<string, string>> => new Map(Object.entries((await readManifest(run.folder).catch(() => null))?.inputs ?? {}));
  return {
    settings: different(new Map(leaves(a.settings)), new Map(leaves(b.settings))),
    inputs: different(await inputs(a), await inputs(b)),
    results: [...new Set([...then.keys(), ...now.keys()])].map((name) => [name, then.get(name) ?? null, now.get(name) ?? null] as const),
  };
}

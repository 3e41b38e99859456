/** @file The configuration of a comparison: what is compared, on what common ground, under which budget. */
import { z } from 'zod';
import { ConfigError } from '../formats/errors.js';
import { problemOf } from '../formats/plain-issues.js';
import { leaves } from '../runs/settings.js';
import type { ModelFamily } from '../models/families/family.js';
import { resolveConfig } from '../training/config.js';
import type { RunConfig } from '../training/config.js';
import { chosenMethod } from '../training/session.js';

type Tree = Record<string, unknown>;

const tree = z.record(z.string(), z.unknown());
const limit = z.number().positive().nullable().default(null);

const comparisonSchema = z.strictObject({
  title: z.string().min(1).default('Comparison'),
  /** Settings of `attune train` that all entries share. */
  settings: tree.default({}),
  /** What is compared, by name: the method (its name, or its section) and settings of its own. */
  entries: z.record(z.string(), tree).refine((e) => Object.keys(e).length > 0, 'name at least one entry'),
  seeds: z.array(z.int().nonnegative()).min(1).refine((s) => new Set(s).size === s.length, 'a seed is there twice')
    .default([0, 1, 2]),
  /** What each run may spend, whichever runs out first. An entry's own `steps` win over `updates`. */
  budget: z.strictObject({ updates: limit, rewardQueries: limit, seconds: limit }).prefault({}),
  /** Best-of-n without training, for these n; the base model is always there. */
  bestOf: z.array(z.int().min(2)).default([8]),
  /** The reward whose price is asked for; null: the smallest final reward among the entries that gained any. */
  threshold: z.number().nullable().default(null),
});

/** A comparison as it is written down. */
export type Comparison = z.infer<typeof comparisonSchema>;

/** Where a comparison differs from a single run: whole curves, few strengths. Its `settings` win over these. */
const DEFAULTS: Tree = { guard: { enabled: false }, evaluation: { times: 4, sweep: [0.5] } };

/** What must be the same for all entries. */
const COMMON: readonly (keyof RunConfig)[] = [
  'model', 'like', 'rewards', 'prompts', 'spacing', 'samplingSteps', 'guidance', 'negativePrompt', 'size', 'evaluation', 'guard',
  'device',
];
/** What the comparison itself decides. */
const DECIDED: Readonly<Record<string, string>> = { seed: 'seeds', budget: 'budget' };

/** More updates than anyone waits for, where the budget is to end a run. */
const ENDLESS = 1e6;

/** How a run comes about. */
export type Kind = { readonly name: 'train' | 'base' } | { readonly name: 'best-of'; readonly n: number };

/** One run of a comparison. */
export interface Job {
  readonly entry: string;
  readonly seed: number;
  readonly kind: Kind;
  /** Run folder below the comparison's. */
  readonly folder: string;
  readonly config: RunConfig;
}

/** @throws ConfigError naming the field that is wrong */
export function parseComparison(value: unknown): Comparison {
  const parsed = comparisonSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const unknown = parsed.error.issues.find((i) => i.code === 'unrecognized_keys');
  if (unknown && unknown.path.length === 0) {
    const keys = Object.keys(comparisonSchema.shape).join(', ');
    throw new ConfigError(`a comparison has no "${unknown.keys[0]!}"; it has ${keys}. Settings of runs belong under settings`);
  }
  const { path, text } = problemOf(parsed.error, value, comparisonSchema);
  throw new ConfigError(`${path || 'comparison'}: ${text}`);
}

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);

/** b's values over a's, section by section; a method is taken whole, since options of one mean nothing to another. */
function merged(a: Tree, b: Tree): Tree {
  const both = Object.entries(b).map(([key, value]): [string, unknown] => {
    const under = a[key];
    return [key, isTree(under) && isTree(value) && key !== 'method' ? merged(under, value) : value];
  });
  return { ...a, ...Object.fromEntries(both) };
}

function entryConfig(comparison: Comparison, name: string, seed: number, family: ModelFamily | undefined): RunConfig {
  const entry = comparison.entries[name]!;
  const taken = COMMON.find((key) => Object.hasOwn(entry, key));
  if (taken) throw new ConfigError(`entries.${name}.${taken}: must be the same for all entries; put it under settings`);
  for (const [key, place] of Object.entries(DECIDED)) {
    const places = [[`entries.${name}`, entry], ['settings', comparison.settings]] as const;
    const where = places.find(([, settings]) => Object.hasOwn(settings, key))?.[0];
    if (where) throw new ConfigError(`${where}.${key}: is set by the comparison's own "${place}"`);
  }
  const given = merged(merged(DEFAULTS, comparison.settings), entry);
  const { updates, rewardQueries, seconds } = comparison.budget;
  const steps = entry['steps'] ?? updates ?? given['steps'] ?? (rewardQueries ?? seconds ? ENDLESS : undefined);
  const method = typeof given['method'] === 'string' ? { name: given['method'] } : given['method'];
  if (method === undefined) throw new ConfigError(`entries.${name}.method: is missing`);
  try {
    const config = resolveConfig(
      { ...given, method, seed, budget: { rewardQueries, seconds }, ...(steps !== undefined && { steps }) }, [], family,
    );
    chosenMethod(config);
    if (config.normalise) throw new ConfigError('normalise: each run would count in its own units; give the rewards mean and std instead, which are the same for all');
    return config;
  } catch (error) {
    if (error instanceof ConfigError) throw new ConfigError(`entries.${name}: ${error.message}`);
    throw error;
  }
}

/**
 * All runs of a comparison, a seed at a time, so that what is there first is one of everything.
 *
 * @param family the model's, whose defaults are taken
 * @throws ConfigError naming entry and setting
 */
export function jobsOf(comparison: Comparison, family?: ModelFamily): Job[] {
  const names = Object.keys(comparison.entries);
  const baselines = ['base', ...comparison.bestOf.map((n) => `best-of-${n}`)];
  for (const name of names) {
    if (!/^[a-z0-9][\w.+-]*$/i.test(name)) {
      throw new ConfigError(`entries.${name}: use letters, digits, and . + - _ in a name`);
    }
    if (baselines.includes(name)) throw new ConfigError(`entries.${name}: is the name of a baseline; choose another`);
  }
  return comparison.seeds.flatMap((seed, k) => {
    const configs = names.map((name) => entryConfig(comparison, name, seed, family));
    // Baselines take what is common; of the rest, any entry's will do.
    const job = (entry: string, kind: Kind, config: RunConfig): Job => 
      ({ entry, seed, kind, folder: `runs/${entry}/seed-${seed}`, config });
    return [
      ...(k === 0 ? [job('base', { name: 'base' }, configs[0]!)] : []),
      ...comparison.bestOf.map((n) => job(`best-of-${n}`, { name: 'best-of', n }, configs[0]!)),
      ...names.map((entry, i) => job(entry, { name: 'train' }, configs[i]!)),
    ];
  });
}

/** Entries in the order of the report: baselines first. */
export const entriesOf = (comparison: Comparison): string[] =>
  ['base', ...comparison.bestOf.map((n) => `best-of-${n}`), ...Object.keys(comparison.entries)];

/** Settings that do not change what a run computes. */
const IDLE = new Set(['threads', 'workers']);

/** The first setting in which a run that exists differs from the one that is wanted, in words; null for none. */
export function changedSetting(job: Job, stored: RunConfig): string | null {
  const facts = (config: RunConfig): Map<string, unknown> => {
    const keys = job.kind.name === 'train' ? Object.keys(config) : [...COMMON, 'seed'];
    return new Map(keys.filter((k) => !IDLE.has(k)).flatMap((k) => leaves(config[k as keyof RunConfig], k)));
  };
  // What is left to the run is what it decided.
  const wanted = job.config.precision === 'auto' ? { ...job.config, precision: stored.precision } : job.config;
  const [then, now] = [facts(stored), facts(wanted)];
  const text = (value: unknown): string => JSON.stringify(value) ?? 'not set';
  const path = [...new Set([...then.keys(), ...now.keys()])].find((k) => text(then.get(k)) !== text(now.get(k)));
  return path === undefined ? null : `${path} was ${text(then.get(path))} and is now ${text(now.get(path))}`;
}

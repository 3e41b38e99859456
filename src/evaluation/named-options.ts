/** @file Things that a setting names with options, as `inception?file=PATH&resize=clean`. */
import { z } from 'zod';
import { ConfigError } from '../formats/errors.js';
import { suggestion } from '../formats/nearest.js';
import { problemOf } from '../formats/plain-issues.js';
import { mapPaths } from '../rewards/path-option.js';

export interface Named<T extends z.ZodObject = z.ZodObject> {
  readonly options: T;
}

export interface Found<N> {
  readonly name: string;
  readonly entry: N;
  /** As they were given. */
  readonly options: Readonly<Record<string, string>>;
}

/**
 * The entry that a text names, with its options; null if it names none.
 *
 * @param setting for messages
 * @throws ConfigError for an option that there is not
 */
export function findNamed<N extends Named>(entries: Readonly<Record<string, N>>, text: string, setting: string): Found<N> | null {
  const [, name = '', query] = /^(\w+)(?:\?(.*))?$/s.exec(text) ?? [];
  const entry = Object.hasOwn(entries, name) ? entries[name]! : null;
  if (!entry) return null;
  const options = Object.fromEntries((query ?? '').split(/&(?=\w+=)/).filter((pair) => pair !== '').map((pair) => {
    const at = pair.indexOf('=');
    return [pair.slice(0, Math.max(0, at)), pair.slice(at + 1)];
  }));
  const unknown = Object.keys(options).find((key) => !Object.hasOwn(entry.options.shape, key));
  if (unknown !== undefined) throw new ConfigError(`${setting}: ${name} has no option "${unknown}". ${suggestion(unknown, Object.keys(entry.options.shape))}`);
  return { entry, options, name };
}

/** The options' values. @throws ConfigError for one that is wrong or missing */
export function valuesOf<N extends Named>({ name, entry, options }: Found<N>, setting: string): z.infer<N['options']> {
  const parsed = entry.options.safeParse(options);
  if (parsed.success) return parsed.data as z.infer<N['options']>;
  const { path, text } = problemOf(parsed.error, options, entry.options);
  throw new ConfigError(`${setting}: ${name}, option ${path} ${text}`);
}

/** The text again, with every path in it replaced. */
export function mapNamedPaths({ name, entry, options }: Found<Named>, replace: (path: string) => string): string {
  const mapped = Object.entries(mapPaths(entry.options, options, replace) as Record<string, string>);
  return mapped.length === 0 ? name : `${name}?${mapped.map(([key, value]) => `${key}=${value}`).join('&')}`;
}

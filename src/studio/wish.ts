/** @file What a page wishes to be run, checked by the schema of the settings, and as the command that does it. */
import { z } from 'zod';
import { ConfigError } from '../formats/errors.js';
import { problemOf } from '../formats/plain-issues.js';
import { parseRewards } from '../rewards/registry.js';
import { trainArguments } from '../training/command-line.js';
import { environmentSettings, resolveConfig } from '../training/config.js';
import type { RunConfig } from '../training/config.js';
import { chosenMethod } from '../training/session.js';
import { Refusal } from './reply.js';

const wishSchema = z.strictObject({
  /** By dotted name, those alone that are not left to their defaults. */
  settings: z.record(z.string().regex(/^[A-Za-z]\w*(?:\.[A-Za-z]\w*)*$/).max(80), z.json()).default({}),
  /** Of the run's folder: one that no file system minds. */
  name: z.string().regex(/^[A-Za-z0-9][\w.-]{0,79}$/, 'letters, digits, dots and dashes').nullable().default(null),
});

export interface Wish {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly name: string | null;
  readonly config: RunConfig;
}

/** @throws Refusal for what is no wish; ConfigError for a setting that there is not, or is wrong, as the command line says it */
export function readWish(body: unknown): Wish {
  const parsed = wishSchema.safeParse(body);
  if (!parsed.success) {
    const { path, text } = problemOf(parsed.error, body);
    throw new Refusal(400, `${path || 'the wish'}: ${text}`);
  }
  const { settings, name } = parsed.data;
  const config = resolveConfig({}, [...environmentSettings(process.env), ...Object.entries(settings)]);
  chosenMethod(config);
  try {
    parseRewards(config.rewards);
  } catch (error) {
    throw new ConfigError(`rewards: ${(error as Error).message}`, { cause: error });
  }
  return { settings, name, config };
}

/** The arguments of `attune train --out`, or (null) of `attune plan`. */
export const trainCommand = ({ settings }: Pick<Wish, 'settings'>, out: string | null): string[] =>
  [out === null ? 'plan' : 'train', ...trainArguments(settings), ...(out === null ? [] : ['--out', out])];

/**
 * @file Asking a run for something while it goes on: pictures of its weights, or these kept, as they are now. A file in its
 * folder for each, as for stopping (stop.ts), which it looks for after each update.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeAtomic } from '../formats/atomic.js';
import { ConfigError } from '../formats/errors.js';
import { readJsonFile } from '../formats/json-file.js';
import { holderOf } from './lock.js';

/** `sample`: pictures of the evaluation's prompts and noise, which nothing is judged by; `save`: the weights below `saved/`, where they stay. */
export type Asked = 'sample' | 'save';
const WISHES: readonly Asked[] = ['sample', 'save'];

const pathOf = (folder: string, wish: Asked): string => join(folder, `.ask-${wish}`);

/** The lock that it is for: a run that goes on later is not meant. */
const schema = z.object({ session: z.string() });

/** Asks the process that holds a run. @throws ConfigError if nobody does */
export async function askRun(folder: string, wish: Asked): Promise<void> {
  const holder = await holderOf(folder);
  if (!holder || holder.alive === false) throw new ConfigError(`${folder} is not running, so there is nobody to ask`);
  await writeAtomic(pathOf(folder, wish), `${JSON.stringify({ session: holder.id })}\n`);
}

/** What the process of that session is asked for; it is told once. */
export async function takeAsked(folder: string, session: string): Promise<ReadonlySet<Asked>> {
  const asked = new Set<Asked>();
  for (const wish of WISHES) {
    const path = pathOf(folder, wish);
    if (!existsSync(path)) continue; // the usual case, after each update
    const found = schema.safeParse(await readJsonFile(path).catch(() => null));
    await rm(path, { force: true });
    if (found.data?.session === session) asked.add(wish);
  }
  return asked;
}

/** @file Prompt sets that the page edits: read by the same readers as `--prompts`, written below `prompts/` of the folder of runs. */
import { mkdtemp, readdir, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { z } from 'zod';
import { writeAtomic } from '../formats/atomic.js';
import { MOST_PROMPT } from '../formats/whole-file.js';
import { bundledPrompts, loadPrompts } from '../training/prompts.js';
import type { PromptSet } from '../training/prompts.js';
import type { PromptRow } from './messages.js';
import { Refusal, taken } from './reply.js';

const rowSchema = z.strictObject({ prompt: z.string().trim().min(1, 'an empty prompt').max(MOST_PROMPT), weight: z.number().min(0).max(1e6), heldOut: z.boolean() });
const name = z.string().regex(/^[A-Za-z0-9][\w-]{0,59}$/, 'letters, digits and dashes');
const setSchema = z.strictObject({ name, rows: z.array(rowSchema).min(1, 'no prompt').max(20_000) });
const importSchema = z.strictObject({ ending: z.enum(['.txt', '.csv', '.tsv', '.json', '.jsonl']), text: z.string() });

const folderOf = (root: string): string => join(root, 'prompts');
const HELD_OUT = '-heldout';

const rowsOf = ({ prompts, weights }: PromptSet, heldOut: boolean): PromptRow[] => prompts.map((prompt, i) => ({ prompt, weight: weights[i]!, heldOut }));

/** Names of the sets that were written here. */
export async function ownPromptSets(root: string): Promise<string[]> {
  const files = await readdir(folderOf(root)).catch(() => [] as string[]);
  return files.filter((file) => /^[\w-]+\.jsonl$/.test(file) && !file.endsWith(`${HELD_OUT}.jsonl`)).map((file) => file.slice(0, -6)).toSorted();
}

/** Writes a set: what is trained on, and beside it what is kept for evaluation. @returns the paths for the settings `prompts` and `evaluation.promptSet` */
export async function writePromptSet(root: string, body: unknown): Promise<{ prompts: string; heldOut: string | null }> {
  const { name: called, rows } = taken(setSchema, body);
  const [trained, held] = [rows.filter((row) => !row.heldOut), rows.filter((row) => row.heldOut)];
  if (!trained.some(({ weight }) => weight > 0)) throw new Refusal(400, 'every prompt is held out or weighs nothing: there is none to train on');
  const path = (suffix: string): string => join(folderOf(root), `${called}${suffix}.jsonl`);
  const text = (all: typeof rows): string => all.map(({ prompt, weight }) => `${JSON.stringify({ prompt, ...(weight !== 1 && { weight }) })}\n`).join('');
  await writeAtomic(path(''), text(trained));
  if (held.length > 0) await writeAtomic(path(HELD_OUT), text(held));
  else await rm(path(HELD_OUT), { force: true });
  return { prompts: path(''), heldOut: held.length > 0 ? path(HELD_OUT) : null };
}

/** A set to edit: one of its own or a bundled one by its name, or a file below the roots. @throws Refusal if there is none, or it lies outside */
export async function readPromptSet(root: string, roots: readonly string[], given: string): Promise<PromptRow[]> {
  if ((await ownPromptSets(root)).includes(given)) {
    const path = join(folderOf(root), given);
    const held = await loadPrompts(`${path}${HELD_OUT}.jsonl`).catch(() => null);
    return [...rowsOf(await loadPrompts(`${path}.jsonl`), false), ...(held ? rowsOf(held, true) : [])];
  }
  if ((await bundledPrompts()).includes(given)) return rowsOf(await loadPrompts(given), false);
  return rowsOf(await loadPrompts(await below(roots, given)), false);
}

/** The real path of a file that lies below one of the roots in truth. */
async function below(roots: readonly string[], path: string): Promise<string> {
  const absent = (): never => {
    throw new Refusal(404, 'there is no such list of prompts below the folders that files are chosen from');
  };
  if (path.includes('\0')) absent();
  const real = await realpath(resolve(path)).catch(absent);
  for (const root of roots) {
    const top = await realpath(resolve(root)).catch(() => null);
    if (top !== null && real.startsWith(top.endsWith(sep) ? top : top + sep) && !real.slice(top.length).split(sep).some((part) => part.startsWith('.'))) return real;
  }
  return absent();
}

/** Rows of a file that the page has read. @throws ConfigError or FormatError with the line that is wrong */
export async function importPrompts(body: unknown): Promise<PromptRow[]> {
  const { ending, text } = taken(importSchema, body);
  const folder = await mkdtemp(join(tmpdir(), 'attune-import-'));
  try {
    const path = join(folder, `list${ending}`);
    await writeAtomic(path, text);
    return rowsOf(await loadPrompts(path), false);
  } catch (error) {
    // Nobody needs to know where it lay for a moment.
    (error as Error).message = (error as Error).message.replaceAll(`${folder}${sep}`, '');
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

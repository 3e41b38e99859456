/** @file The state of a run on disk: written whole or not at all, so that an interrupted run resumes exactly. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeAtomic } from '../formats/atomic.js';
import { DiskFullError, tellFullDisk } from '../formats/disk-full.js';
import { FormatError } from '../formats/errors.js';
import { readJsonFile } from '../formats/json-file.js';
import { openSafetensors, writeSafetensors } from '../formats/safetensors.js';
import { readAll } from '../formats/weights.js';
import type { HostTensor } from '../graph/dtype.js';
import { hashTensors, hashText } from './digest.js';

/** Everything that the next round depends on. */
export interface RunState {
  /** Updates of the optimiser done. */
  step: number;
  /** Rounds of the method done. */
  round: number;
  rewardQueries: number;
  denoiserCalls: number;
  /** Sets of tensors: parameters, their average, the optimiser's moments, gradients not yet applied. */
  tensors: Readonly<Record<string, ReadonlyMap<string, HostTensor>>>;
  /** Plain values of the parts of the trainer. */
  values: Readonly<Record<string, unknown>>;
}

const header = z.object({
  step: z.int().nonnegative(),
  round: z.int().nonnegative(),
  rewardQueries: z.int().nonnegative(),
  denoiserCalls: z.int().nonnegative(),
  values: z.record(z.string(), z.unknown()),
});

/** Checksums that a checkpoint holds; those of attune 0.1.0 have none. */
const sums = z.object({ tensors: z.string(), state: z.string() }).partial();

const STATE = 'state.json';
const TENSORS = 'state.safetensors';
const folderName = (step: number): string => `step-${String(step).padStart(6, '0')}`;
const FOLDER = /^step-\d{6,}$/;

/**
 * Writes a checkpoint `step-NNNNNN` below `root`, with checksums. It appears under its name only when complete; older
 * ones beyond `keep` go after that.
 *
 * @returns the checkpoint's folder
 * @throws DiskFullError naming that folder if there is no room for it; the older ones all stay
 */
export async function saveCheckpoint(root: string, state: RunState, keep: number): Promise<string> {
  const name = folderName(state.step);
  const target = join(root, name);
  const temporary = join(root, `.${name}.tmp`);
  await rm(temporary, { recursive: true, force: true });
  try {
    await tellFullDisk(target, null, () => mkdir(temporary, { recursive: true }));
    const tensors = Object.entries(state.tensors).flatMap(([set, map]) => [...map].map(([k, t]) => [`${set}/${k}`, t] as const));
    await writeSafetensors(join(temporary, TENSORS), tensors);
    const { step, round, rewardQueries, denoiserCalls, values } = state;
    const text = JSON.stringify({ step, round, rewardQueries, denoiserCalls, values });
    const checked = { sums: { tensors: hashTensors(new Map(tensors)), state: hashText(text) } };
    await writeAtomic(join(temporary, STATE), JSON.stringify({ ...(JSON.parse(text) as object), ...checked }));
    await rm(target, { recursive: true, force: true });
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error instanceof DiskFullError ? new DiskFullError(target, error.needed, error.free, { cause: error }) : error;
  }
  const old = (await listCheckpoints(root)).slice(0, -keep);
  for (const n of old) await rm(join(root, n), { recursive: true, force: true });
  return target;
}

/** Names of complete checkpoints, oldest first. */
export async function listCheckpoints(root: string): Promise<string[]> {
  const names = await readdir(root).catch(() => [] as string[]);
  return names.filter((n) => FOLDER.test(n)).toSorted();
}

/**
 * The newest checkpoint that can be read and fits, or null if there is none at all. One that is damaged is passed over
 * for the one before it, reported, and renamed to `….damaged`.
 *
 * @param check throws if a state that was read does not fit what is trained
 * @throws FormatError if there are some and none can be used
 */
export async function loadCheckpoint(
  root: string, onDamaged: (message: string) => void, check: (state: RunState) => void = () => {},
): Promise<RunState | null> {
  const names = (await listCheckpoints(root)).toReversed();
  for (const [i, name] of names.entries()) {
    try {
      const state = await readCheckpoint(join(root, name));
      check(state);
      // Out of the way of those to come: an old one that can be read is worth more.
      for (const damaged of names.slice(0, i)) await setAside(join(root, damaged));
      return state;
    } catch (error) {
      onDamaged(`checkpoint ${name} is passed over: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (names.length === 0) return null;
  throw new FormatError(root, 'holds no checkpoint that can be used', 'Bring one back from a copy, or start a new run.');
}

/** Renames what is damaged, so that it is no checkpoint any more. */
export async function setAside(path: string): Promise<void> {
  await rm(`${path}.damaged`, { recursive: true, force: true });
  await rename(path, `${path}.damaged`);
}

const REMEDY = 'Resume from another checkpoint.';

/** @throws FormatError naming the file that is damaged */
export async function readCheckpoint(folder: string): Promise<RunState> {
  const path = join(folder, STATE);
  let raw: unknown;
  try {
    raw = await readJsonFile(path);
  } catch (cause) {
    throw new FormatError(path, 'is missing or no JSON object', REMEDY, { cause });
  }
  const parsed = header.safeParse(raw);
  if (!parsed.success) throw new FormatError(path, 'is not the state of a run', REMEDY);
  const { sums: given, ...content } = raw as { sums?: unknown };
  const sum = sums.safeParse(given ?? {});
  if (!sum.success || (sum.data.state !== undefined && sum.data.state !== hashText(JSON.stringify(content)))) {
    throw new FormatError(path, 'is not as it was written (its checksum is another)', REMEDY);
  }
  const file = join(folder, TENSORS);
  const source = await openSafetensors(file);
  const all = await readAll(source).finally(() => source.close());
  if (sum.data.tensors !== undefined && sum.data.tensors !== hashTensors(all)) {
    throw new FormatError(file, 'is not as it was written (its checksum is another)', REMEDY);
  }
  const tensors: Record<string, Map<string, HostTensor>> = Object.create(null);
  for (const [name, t] of all) {
    const cut = name.indexOf('/');
    (tensors[name.slice(0, cut)] ??= new Map()).set(name.slice(cut + 1), t);
  }
  return { ...parsed.data, tensors };
}

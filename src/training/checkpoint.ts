/** @file The state of a run on disk: written whole or not at all, so that an interrupted run resumes exactly. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeAtomic } from '../formats/atomic.js';
import { DiskFullError, tellFullDisk } from '../formats/disk-full.js';
import { FormatError } from '../formats/errors.js';
import { readJsonFile } from '../formats/json.js';
import { openSafetensors, writeSafetensors } from '../formats/safetensors.js';
import { readAll } from '../formats/weights.js';
import type { HostTensor } from '../graph/dtype.js';

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

const STATE = 'state.json';
const TENSORS = 'state.safetensors';
const folderName = (step: number): string => `step-${String(step).padStart(6, '0')}`;
const FOLDER = /^step-\d{6,}$/;

/**
 * Writes a checkpoint `step-NNNNNN` below `root`. It appears under its name only when complete; older ones beyond
 * `keep` and those in `except` stay or go after that.
 *
 * @returns the checkpoint's folder
 * @throws DiskFullError naming that folder if there is no room for it; the older ones all stay
 */
export async function saveCheckpoint(root: string, state: RunState, keep: number, except: readonly number[] = []): Promise<string> {
  const name = folderName(state.step);
  const target = join(root, name);
  const temporary = join(root, `.${name}.tmp`);
  await rm(temporary, { recursive: true, force: true });
  try {
    await tellFullDisk(target, null, () => mkdir(temporary, { recursive: true }));
    const tensors = Object.entries(state.tensors).flatMap(([set, map]) => [...map].map(([k, t]) => [`${set}/${k}`, t] as const));
    await writeSafetensors(join(temporary, TENSORS), tensors);
    const { step, round, rewardQueries, denoiserCalls, values } = state;
    await writeAtomic(join(temporary, STATE), JSON.stringify({ step, round, rewardQueries, denoiserCalls, values }));
    await rm(target, { recursive: true, force: true });
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error instanceof DiskFullError ? new DiskFullError(target, error.needed, error.free, { cause: error }) : error;
  }
  const spared = new Set(except.map(folderName));
  const old = (await listCheckpoints(root)).filter((n) => !spared.has(n)).slice(0, -keep);
  for (const n of old) await rm(join(root, n), { recursive: true, force: true });
  return target;
}

/** Names of complete checkpoints, oldest first. */
export async function listCheckpoints(root: string): Promise<string[]> {
  const names = await readdir(root).catch(() => [] as string[]);
  return names.filter((n) => FOLDER.test(n)).toSorted();
}

/**
 * The newest checkpoint that can be read, or null if there is none. One that is damaged is passed over for the one
 * before it, and reported.
 */
export async function loadCheckpoint(root: string, onDamaged: (message: string) => void): Promise<RunState | null> {
  for (const name of (await listCheckpoints(root)).toReversed()) {
    try {
      return await readCheckpoint(join(root, name));
    } catch (error) {
      onDamaged(`checkpoint ${name} cannot be read (${error instanceof Error ? error.message : String(error)}); trying the one before`);
    }
  }
  return null;
}

/** @throws FormatError naming the file that is damaged */
export async function readCheckpoint(folder: string): Promise<RunState> {
  const path = join(folder, STATE);
  const parsed = header.safeParse(await readJsonFile(path));
  if (!parsed.success) throw new FormatError(path, 'is not the state of a run', 'Resume from another checkpoint.');
  const source = await openSafetensors(join(folder, TENSORS));
  const tensors: Record<string, Map<string, HostTensor>> = Object.create(null);
  for (const [name, t] of await readAll(source).finally(() => source.close())) {
    const cut = name.indexOf('/');
    (tensors[name.slice(0, cut)] ??= new Map()).set(name.slice(cut + 1), t);
  }
  return { ...parsed.data, tensors };
}

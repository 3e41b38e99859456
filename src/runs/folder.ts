/** @file The folder of a run: configuration, manifest, metrics, events, pictures. One process at a time may own it. */
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { appendWhole, sweepUnfinished, writeAtomic } from '../formats/atomic.js';
import { tellFullDisk } from '../formats/disk-full.js';
import { MOST_BYTES, readTextIfThere } from '../formats/whole-file.js';
import { openEventWriter } from '../formats/tfevents.js';
import type { EventWriter } from '../formats/tfevents.js';
import { checkWritable } from '../formats/writable.js';
import { ConfigError } from '../formats/errors.js';
import { lockFolder } from './lock.js';
import { mergedManifest, readManifest } from './manifest.js';
import type { Manifest } from './manifest.js';
import { parseRows, rowText } from './rows.js';
import type { MetricsRow } from './rows.js';

export interface RunFolder {
  readonly path: string;
  /**
   * Makes a new folder a run, or goes on with the one that is there.
   *
   * @param manifest what identifies the run now
   * @returns the manifest as it is written, with what has changed since the run was begun
   * @throws ConfigError if a run would go on with other inputs than it has had, and that is not forced
   */
  begin(manifest: Manifest, force?: boolean): Promise<Manifest>;
  /** Keeps what was logged up to `step` and forgets the rest: an interrupted run goes on from its checkpoint. */
  rewind(step: number): Promise<MetricsRow[]>;
  /** @throws ConfigError if the folder was deleted or taken away while it was in use */
  check(): Promise<void>;
  /** What was logged. */
  rows(): Promise<MetricsRow[]>;
  log(row: MetricsRow): Promise<void>;
  picture(name: string, png: Uint8Array, width: number, height: number, step: number): Promise<void>;
  /** Lets go of the folder; one that was made and never became a run is removed. */
  close(): Promise<void>;
}

const CONFIG = 'config.yaml';
const METRICS = 'metrics.jsonl';

export interface RunFolderOptions {
  /** Go on with the run that is in it. */
  readonly resume: boolean;
  /** Told of what was mended or is no longer promised. */
  readonly warn: (text: string) => void;
}

/**
 * Takes a new or an existing run folder for this process, before anything is loaded.
 *
 * @param config its settings, which are written down; to resume: the same as those that are there
 * @throws ConfigError if it cannot be written, is in use, or already holds a run (for a new one)
 */
export async function openRunFolder(path: string, config: object, { resume, warn }: RunFolderOptions): Promise<RunFolder> {
  const known = await readTextIfThere(join(path, CONFIG), MOST_BYTES.settings).catch((error: Error) => {
    const { code } = (error.cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'ENAMETOOLONG' || code === 'ELOOP') return null; // no such path can be, which is told below
    throw error;
  });
  if (known !== null && !resume) {
    throw new ConfigError(`${path} already holds a run; give another --out, or go on with --resume ${path}`);
  }
  await checkWritable(path, 'folder');
  const made = await tellFullDisk(path, null, () => mkdir(path, { recursive: true }));
  const lock = await lockFolder(path, warn).catch(async (error: unknown) => {
    await removeEmpty(path, made);
    throw error;
  });
  await sweepUnfinished(path);
  let isRun = resume;
  let change: string | null = null;
  let events: EventWriter | null = null;
  /** The event file is opened once it is known from which step on earlier ones are superseded. */
  const writer = async (): Promise<EventWriter> => (events ??= await openEventWriter(path));
  const metrics = join(path, METRICS);

  async function rows(): Promise<MetricsRow[]> {
    const text = (await readTextIfThere(metrics, MOST_BYTES.log)) ?? '';
    return parseRows(text, metrics, 'It is left out.', (error) => warn(error.message));
  }

  return {
    path,
    async begin(manifest, force = false) {
      await lock.check();
      const stored = resume ? (await readManifest(path)) ?? {} : null;
      const merged = mergedManifest(stored, manifest, { path, force, warn });
      change = stored && merged.changes !== stored.changes ? JSON.stringify(merged.changes?.at(-1)) : null;
      await writeAtomic(join(path, 'manifest.json'), `${JSON.stringify(merged, null, 2)}\n`);
      await writeAtomic(join(path, CONFIG), stringify(config)); // the last: it makes the folder a run
      isRun = true;
      return merged;
    },
    async rewind(step) {
      await lock.check();
      const kept = (await rows()).filter((row) => row.step <= step);
      await writeAtomic(metrics, kept.map(rowText).join(''));
      events = await openEventWriter(path, resume ? { purgeStep: step + 1 } : {});
      if (change !== null) await events.text('changes', `resumed with other inputs: ${change}`, Math.max(0, step));
      return kept;
    },
    check: () => lock.check(),
    rows,
    async log(row) {
      await lock.check();
      await appendWhole(metrics, rowText(row));
      for (const [key, value] of Object.entries(row)) if (key !== 'step' && value !== undefined) await (await writer()).scalar(key, value, row.step);
    },
    async picture(name, png, width, height, step) {
      await lock.check();
      await writeAtomic(join(path, 'samples', `${name}.png`), png);
      await (await writer()).image('samples', png, width, height, step);
    },
    async close() {
      await lock.release();
      if (!isRun) await removeEmpty(path, made);
    },
  };
}

/** Removes a folder that was made for nothing, and those above it that were made for it, as long as they are empty. */
async function removeEmpty(path: string, firstMade: string | undefined): Promise<void> {
  if (firstMade === undefined) return;
  const top = resolve(firstMade);
  for (let at = resolve(path); at.startsWith(top); at = dirname(at)) {
    if (!(await rmdir(at).then(() => true, () => false))) return;
  }
}

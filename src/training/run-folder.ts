/** @file The folder of a run: configuration, manifest, metrics, events, pictures. One process at a time may own it. */
import { createHash } from 'node:crypto';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { stringify } from 'yaml';
import { appendWhole, writeAtomic } from '../formats/atomic.js';
import { tellFullDisk } from '../formats/disk-full.js';
import { tensorBytes } from '../formats/safetensors.js';
import { MOST_BYTES, readTextIfThere } from '../formats/whole-file.js';
import { openEventWriter } from '../formats/tfevents.js';
import type { HostTensor } from '../graph/dtype.js';
import { ConfigError, readConfigFile, resolveConfig } from './config.js';
import type { RunConfig } from './config.js';
import { parseRows, rowText } from './rows.js';
import type { MetricsRow } from './rows.js';

export interface RunFolder {
  readonly path: string;
  /** Keeps what was logged up to `step` and forgets the rest: an interrupted run goes on from its checkpoint. */
  rewind(step: number): Promise<MetricsRow[]>;
  log(row: MetricsRow): Promise<void>;
  picture(name: string, png: Uint8Array, width: number, height: number, step: number): Promise<void>;
  close(): Promise<void>;
}

const CONFIG = 'config.yaml';
const METRICS = 'metrics.jsonl';
const LOCK = '.lock';

/** True if a process of this number runs on this machine. */
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** @throws ConfigError if another process that is still alive owns the folder */
async function lock(path: string): Promise<() => Promise<void>> {
  const file = join(path, LOCK);
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      await tellFullDisk(file, null, async () => (await open(file, 'wx')).close());
      await appendWhole(file, String(process.pid)).catch(async (error: unknown) => {
        await rm(file, { force: true });
        throw error;
      });
      return () => rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const owner = Number((await readTextIfThere(file, MOST_BYTES.note)) ?? '');
      if (owner > 0 && owner !== process.pid && alive(owner)) {
        throw new ConfigError(`${path} is in use by process ${owner}; choose another --out, or stop that run first`);
      }
      await rm(file, { force: true }); // left by a process that was killed
    }
  }
  throw new ConfigError(`${path} is in use by another process`);
}

/** The configuration that a run was started with. @throws ConfigError if there is none */
export async function storedConfig(path: string): Promise<RunConfig> {
  return resolveConfig(await readConfigFile(join(path, CONFIG)), []);
}

/** SHA-256 of named tensors, in the order of their names. */
export function hashTensors(tensors: ReadonlyMap<string, HostTensor>): string {
  const hash = createHash('sha256');
  for (const name of [...tensors.keys()].toSorted()) {
    const t = tensors.get(name)!;
    hash.update(`${name} ${t.dtype} ${t.shape.join()}\n`).update(tensorBytes(t));
  }
  return hash.digest('hex');
}

/**
 * Takes a new or an existing run folder. A new one gets its configuration and manifest.
 *
 * @throws ConfigError if it is in use, already holds a run (for a new one), or holds one of other settings (to resume)
 */
export async function openRunFolder(
  path: string, config: RunConfig, manifest: Readonly<Record<string, unknown>>, resume: boolean,
): Promise<RunFolder> {
  const known = await readTextIfThere(join(path, CONFIG), MOST_BYTES.settings);
  if (known !== null && !resume) {
    throw new ConfigError(`${path} already holds a run; give another --out, or go on with --resume ${path}`);
  }
  if (resume && !isDeepStrictEqual(await storedConfig(path), config)) {
    throw new ConfigError(`${path} holds a run of other settings; go on with those in its ${CONFIG}, or start a new run`);
  }
  await tellFullDisk(path, null, () => mkdir(path, { recursive: true }));
  const unlock = await lock(path);
  try {
    if (!resume) {
      await writeAtomic(join(path, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
      await writeAtomic(join(path, CONFIG), stringify(config)); // the last: it makes the folder a run
    }
    const metrics = join(path, METRICS);
    const rows = async (): Promise<MetricsRow[]> => {
      const text = (await readTextIfThere(metrics, MOST_BYTES.log)) ?? '';
      return parseRows(text, metrics, 'Delete that line.');
    };
    const last = resume ? ((await rows()).at(-1)?.step ?? 0) : 0;
    const events = await openEventWriter(path, resume ? { purgeStep: last + 1 } : {});
    return {
      path,
      async rewind(step) {
        const kept = (await rows()).filter((row) => row.step <= step);
        await writeAtomic(metrics, kept.map(rowText).join(''));
        return kept;
      },
      async log(row) {
        await appendWhole(metrics, rowText(row));
        for (const [key, value] of Object.entries(row)) if (key !== 'step' && value !== undefined) await events.scalar(key, value, row.step);
      },
      async picture(name, png, width, height, step) {
        await writeAtomic(join(path, 'samples', `${name}.png`), png);
        await events.image('samples', png, width, height, step);
      },
      close: unlock,
    };
  } catch (error) {
    await unlock();
    throw error;
  }
}

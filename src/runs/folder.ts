/** @file The folder of a run: configuration, manifest, the log and what listens to it. One process at a time may own it. */
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { sweepUnfinished, writeAtomic } from '../formats/atomic.js';
import { tellFullDisk } from '../formats/disk-full.js';
import { ConfigError, FormatError } from '../formats/errors.js';
import { packageVersion } from '../formats/package-root.js';
import { openEventWriter } from '../formats/tfevents.js';
import type { EventWriter } from '../formats/tfevents.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { MOST_BYTES, readTextIfThere } from '../formats/whole-file.js';
import { checkWritable } from '../formats/writable.js';
import { openResources } from '../host/resources.js';
import { takeAsked } from './asked.js';
import type { Asked } from './asked.js';
import { openEventLog } from './event-log.js';
import type { EventLog } from './event-log.js';
import { LOG_VERSION } from './events.js';
import type { Listener, NewEvent, RunEvent } from './events.js';
import { metricsListener, progressOf, scalarListener } from './listeners.js';
import { lockFolder } from './lock.js';
import { mergedManifest, readManifest } from './manifest.js';
import type { Manifest } from './manifest.js';
import { oldRows, rowEvents } from './old-log.js';
import type { Progress } from './progress.js';
import { rowText } from './rows.js';
import type { MetricsRow } from './rows.js';
import { hearStop } from './stop.js';
import { readView } from './view.js';
import type { RunView } from './view.js';

export interface RunFolder {
  readonly path: string;
  /** What work is told to, which goes into the log. */
  readonly progress: Progress;
  /**
   * Makes a new folder a run, or goes on with the one that is there.
   *
   * @param manifest what identifies the run now
   * @returns the manifest as it is written, with what has changed since the run was begun
   * @throws ConfigError if a run would go on with other inputs than it has had, and that is not forced
   */
  begin(manifest: Manifest, force?: boolean): Promise<Manifest>;
  /** Adds to the manifest what came to be known after the run had begun. */
  amend(facts: Readonly<Record<string, unknown>>): Promise<void>;
  /** The run as it was found; null for a new one, and for one that has no log. */
  readonly found: RunView | null;
  /** Keeps what was logged up to `step` and voids the rest: a run goes on from its checkpoint, or (−1) begins. */
  rewind(step: number): Promise<void>;
  /**
   * Writes an event and tells everyone who listens. Before `begin` it waits: what never became a run has no log.
   *
   * @throws ConfigError if the folder was deleted or taken away while it was in use; DiskFullError if there is no room
   */
  emit(event: NewEvent): Promise<void>;
  /** What somebody asks for by its folder (`askRun`), told once. */
  asked(): Promise<ReadonlySet<Asked>>;
  /** Writes down why a run ends that has not finished: the error, or (null) a wish. Where that cannot be written it is lost. */
  stop(error: unknown): Promise<void>;
  /** @throws ConfigError if the folder was deleted or taken away while it was in use */
  check(): Promise<void>;
  /** What was logged. */
  rows(): Promise<readonly MetricsRow[]>;
  /** Writes a sheet of pictures, a PNG file below the folder. */
  sheet(file: string, png: Uint8Array, width: number, height: number, step: number): Promise<void>;
  /** Lets go of the folder; one that was made and never became a run is removed. */
  close(): Promise<void>;
}

const CONFIG = 'config.yaml';
const METRICS = 'metrics.jsonl';

/** Characters of an error that are kept. */
const LONGEST_REASON = 3000;

/** Milliseconds between heartbeats that are written down. */
const HEARTBEAT = 10_000;

export interface RunFolderOptions {
  /** Go on with the run that is in it. */
  readonly resume: boolean;
  /** Who else is told of the run's events. */
  readonly listeners?: readonly Listener[];
  /** Told once, when somebody asks the run to stop by its folder (`askToStop`). */
  readonly onStop?: () => void;
  /** Told of what was mended or is no longer promised. */
  readonly warn: (text: string) => void;
}

/**
 * Takes a new or an existing run folder for this process, before anything is loaded.
 *
 * @param config its settings, which are written down; to resume: the same as those that are there
 * @throws ConfigError if it cannot be written, is in use, or already holds a run (for a new one)
 */
export async function openRunFolder(path: string, config: object, { resume, listeners = [], onStop, warn }: RunFolderOptions): Promise<RunFolder> {
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
  const resources = openResources();
  const lock = await lockFolder(path, warn).catch(async (error: unknown) => {
    await removeEmpty(path, made);
    throw error;
  });
  resources.use(lock);
  resources.use(lock.keepAlive());
  if (onStop) resources.use(hearStop(path, lock.id, onStop));
  let isRun = resume;
  let log: EventLog | null = null;
  const waiting: RunEvent[] = [];
  const told: Listener[] = [...listeners];
  let changes: Record<string, string> | undefined;
  let beat = -Infinity;
  const metrics = join(path, METRICS);
  let scalars: EventWriter | null = null;

  const onBad = (error: Error): void => warn(error.message);
  async function mended(): Promise<RunView | null> {
    await sweepUnfinished(path);
    return resume ? readView(path, { onBad }) : null;
  }
  const found = await mended().catch(async (error: unknown) => {
    await resources.release();
    throw error;
  });

  async function emit(given: NewEvent): Promise<void> {
    const event = { ...given, time: Date.now() } as RunEvent;
    const quiet = event.type === 'heartbeat';
    if (!quiet || event.time - beat >= HEARTBEAT) {
      if (quiet) beat = event.time;
      if (log) await log.append(event);
      else waiting.push(event);
    }
    for (const listener of told) await listener(event);
  }

  async function checked(event: NewEvent): Promise<void> {
    await lock.check();
    await emit(event);
  }

  return {
    path,
    found,
    progress: progressOf(emit),
    async begin(manifest, force = false) {
      await lock.check();
      const read = resume ? await readManifest(path).catch((error: unknown) => {
        if (!force || !(error instanceof FormatError)) throw error;
        warn(error.message);
        return null;
      }) : null;
      const stored = resume ? read ?? {} : null;
      const merged = mergedManifest(stored, manifest, { path, force, warn });
      changes = stored && merged.changes !== stored.changes ? merged.changes?.at(-1)?.changed : undefined;
      await writeAtomic(join(path, 'manifest.json'), `${JSON.stringify(merged, null, 2)}\n`);
      const opened = await openEventLog(path);
      resources.use({ release: () => opened.close() });
      const { host, pid } = lock;
      await opened.append({
        type: 'opened', time: Date.now(), version: LOG_VERSION, session: lock.id, resumed: resume, attune: packageVersion, host, pid,
        ...(changes && { changes }),
      });
      // A run of before there was a log: what it measured is in its log from now on.
      if (resume && !found) {
        for (const event of (await oldRows(metrics, onBad)).flatMap(rowEvents)) await opened.append({ ...event, time: Date.now() } as RunEvent);
      }
      for (let event = waiting.shift(); event; event = waiting.shift()) await opened.append(event);
      log = opened; // in one go with the look at what waits: nothing comes between
      await writeAtomic(join(path, CONFIG), stringify(config)); // the last: it makes the folder a run
      isRun = true;
      return merged;
    },
    async amend(facts) {
      await lock.check();
      await writeAtomic(join(path, 'manifest.json'), `${JSON.stringify({ ...await readManifest(path), ...facts }, null, 2)}\n`);
    },
    async rewind(step) {
      await lock.check();
      if (resume) await emit({ type: 'resumed', step });
      const kept = (await readView(path))?.rows ?? [];
      await writeAtomic(metrics, kept.map(rowText).join(''));
      scalars = await openEventWriter(path, resume ? { purgeStep: step + 1 } : {});
      if (changes) await scalars.text('changes', `resumed with other inputs: ${JSON.stringify(changes)}`, Math.max(0, step));
      told.push(metricsListener(metrics), scalarListener(scalars));
    },
    emit: checked,
    asked: () => takeAsked(path, lock.id),
    async stop(error) {
      const reason = withoutSecrets(error instanceof Error ? error.message : String(error)).slice(0, LONGEST_REASON);
      await checked(error === null ? { type: 'ended', how: 'interrupted' } : { type: 'ended', how: 'error', reason }).catch(() => {});
    },
    check: () => lock.check(),
    rows: async () => (await readView(path))?.rows ?? [],
    async sheet(file, png, width, height, step) {
      await lock.check();
      await writeAtomic(join(path, file), png);
      await scalars?.image('samples', png, width, height, step);
    },
    async close() {
      await resources.release();
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

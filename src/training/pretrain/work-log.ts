/** @file The log of a pretraining, of the events of a run: so it is listed by `attune runs`, with its true state. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { sweepUnfinished, writeAtomic } from '../../formats/atomic.js';
import { tellFullDisk } from '../../formats/disk-full.js';
import { packageVersion } from '../../formats/package-root.js';
import { withoutSecrets } from '../../formats/url-secrets.js';
import { openEventLog } from '../../runs/event-log.js';
import { LOG_VERSION } from '../../runs/events.js';
import type { NewEvent, RunEvent } from '../../runs/events.js';
import { progressOf, shownBy } from '../../runs/listeners.js';
import { lockFolder } from '../../runs/lock.js';
import { hearStop } from '../../runs/stop.js';
import type { Progress } from '../../runs/progress.js';
import type { Settings } from '../../runs/settings.js';
import { openResources } from '../../host/resources.js';

export interface WorkLog {
  /** What work is told to: the log, and whoever was told before. */
  readonly progress: Progress;
  /** @throws DiskFullError if there is no room */
  emit(event: NewEvent): Promise<void>;
  /** The last word. Where it cannot be written it is lost. @param error what ended it; null for a wish */
  stop(error: unknown): Promise<void>;
  /** Lets go of the folder. */
  release(): Promise<void>;
}

export interface WorkLogOptions {
  readonly resume: boolean;
  readonly progress: Progress;
  readonly onStop: () => void;
}

/** Milliseconds between heartbeats that are written down. */
const HEARTBEAT = 10_000;

/**
 * Takes a work folder for this process and makes it a run.
 *
 * @param onStop told once, when somebody asks the run to stop by its folder (`askToStop`)
 * @throws ConfigError if another process has it; DiskFullError if there is no room
 */
export async function openWorkLog(folder: string, settings: Settings, { resume, progress, onStop }: WorkLogOptions): Promise<WorkLog> {
  await tellFullDisk(folder, null, () => mkdir(folder, { recursive: true }));
  const resources = openResources();
  const lock = resources.use(await lockFolder(folder, progress.warn));
  resources.use(lock.keepAlive());
  resources.use(hearStop(folder, lock.id, onStop));
  const shown = shownBy(progress);
  let beat = -Infinity;
  try {
    await sweepUnfinished(folder);
    const log = await openEventLog(folder);
    resources.use({ release: async () => log.close() });
    const emit = async (given: NewEvent): Promise<void> => {
      const event = { ...given, time: Date.now() } as RunEvent;
      const quiet = event.type === 'heartbeat';
      if (!quiet || event.time - beat >= HEARTBEAT) await log.append(event);
      if (quiet && event.time - beat >= HEARTBEAT) beat = event.time;
      await shown(event);
    };
    const { id: session, host, pid } = lock;
    await emit({ type: 'opened', version: LOG_VERSION, session, resumed: resume, attune: packageVersion, host, pid });
    await writeAtomic(join(folder, 'config.yaml'), stringify(settings));
    return {
      progress: progressOf(emit),
      emit,
      async stop(error) {
        const reason = withoutSecrets(error instanceof Error ? error.message : String(error));
        await emit(error === null ? { type: 'ended', how: 'interrupted' } : { type: 'ended', how: 'error', reason }).catch(() => {});
      },
      release: () => resources.release(),
    };
  } catch (error) {
    await resources.release();
    throw error;
  }
}

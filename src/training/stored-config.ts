/** @file The settings of the run in a folder, and the folder taken for them. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { ConfigError } from '../formats/errors.js';
import { openRunFolder } from '../runs/folder.js';
import type { RunFolder, RunFolderOptions } from '../runs/folder.js';
import { readManifest } from '../runs/manifest.js';
import { listCheckpoints } from './checkpoint.js';
import { insteadOfAccumulate, readConfigFile, resolveConfig } from './config.js';
import type { RunConfig } from './config.js';
import { absolutePaths } from './paths.js';

/** The configuration that a run was started with, its paths absolute. @throws ConfigError if there is none */
export async function storedConfig(path: string): Promise<RunConfig> {
  const { accumulate = 1, ...settings } = await readConfigFile(join(path, 'config.yaml'));
  // Earlier versions wrote it down in every run; 1 was nothing.
  if (accumulate !== 1) {
    throw new ConfigError(`${path} was begun by an earlier version with accumulate: ${JSON.stringify(accumulate)}, and cannot go on: that is no `
      + `setting any more. Start a new run with ${insteadOfAccumulate({ ...settings, accumulate })}`);
  }
  // Earlier versions had no other precision, or wrote down which.
  return absolutePaths(resolveConfig({ precision: 'float32', ...settings }, []));
}

/** Whether two configurations compute the same but for rounding. */
const sameRun = (a: RunConfig, b: RunConfig): boolean => {
  const place = { device: 'cpu', threads: undefined, workers: 1, microbatch: undefined, memory: undefined } as const;
  return isDeepStrictEqual({ ...a, ...place }, { ...b, ...place });
};

/**
 * Takes a run folder for a configuration; to resume it must be the one that the run was started with, but for device,
 * threads, workers, microbatch and memory.
 *
 * @throws ConfigError as `openRunFolder`, for a run of other settings, and for one that has nothing to go on from
 */
export async function openRun(path: string, config: RunConfig, options: RunFolderOptions): Promise<RunFolder> {
  if (options.resume && !sameRun(await storedConfig(path), config)) {
    throw new ConfigError(`${path} holds a run of other settings; go on with those in its config.yaml, or start a new run`);
  }
  const folder = await openRunFolder(path, config, options);
  try {
    if (options.resume && (await listCheckpoints(join(path, 'checkpoints'))).length === 0) await beginAgain(folder);
    return folder;
  } catch (error) {
    await folder.close();
    throw error;
  }
}

/** @throws ConfigError unless it is a run that ended before its first checkpoint, which begins again */
async function beginAgain({ path, found, progress }: RunFolder): Promise<void> {
  const last = found?.checkpoints.at(-1);
  if (last) {
    throw new ConfigError(`${path}: the checkpoint of step ${last.step} was saved, and none is there any more. `
      + 'Bring checkpoints/ back from a copy, or start a new run.');
  }
  if (!found && !(await readManifest(path))) {
    throw new ConfigError(`${path} holds settings, but no checkpoint and no log of a run that could go on. `
      + `Start a run of these settings: attune train --config ${join(path, 'config.yaml')}`);
  }
  progress.phase(`${path} ended before its first checkpoint, so it begins again at its first step`);
}

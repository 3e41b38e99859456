/** @file The settings of the run in a folder, and the folder taken for them. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { ConfigError } from '../formats/errors.js';
import { openRunFolder } from '../runs/folder.js';
import type { RunFolder, RunFolderOptions } from '../runs/folder.js';
import { readConfigFile, resolveConfig } from './config.js';
import type { RunConfig } from './config.js';
import { absolutePaths } from './paths.js';

/** The configuration that a run was started with, its paths absolute. @throws ConfigError if there is none */
export async function storedConfig(path: string): Promise<RunConfig> {
  return absolutePaths(resolveConfig(await readConfigFile(join(path, 'config.yaml')), []));
}

/** Whether two configurations compute the same but for rounding. */
const sameRun = (a: RunConfig, b: RunConfig): boolean => {
  const place = { device: 'cpu', threads: undefined } as const;
  return isDeepStrictEqual({ ...a, ...place }, { ...b, ...place });
};

/**
 * Takes a run folder for a configuration; to resume it must be the one that the run was started with, but for device and
 * threads.
 *
 * @throws ConfigError as `openRunFolder`, and for a run of other settings
 */
export async function openRun(path: string, config: RunConfig, options: RunFolderOptions): Promise<RunFolder> {
  if (options.resume && !sameRun(await storedConfig(path), config)) {
    throw new ConfigError(`${path} holds a run of other settings; go on with those in its config.yaml, or start a new run`);
  }
  return openRunFolder(path, config, options);
}

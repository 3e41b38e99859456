/** @file Removing a run: a folder that is one, that nobody uses, and that holds nothing else. */
import { lstat, readdir, realpath, rm, rmdir } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { ConfigError } from '../formats/errors.js';
import { lockFolder } from './lock.js';
import { isRun } from './overview.js';

/** What runs write, of all versions. */
const OWN = new Set([
  'config.yaml', 'manifest.json', 'events.jsonl', 'metrics.jsonl', 'summary.json', 'report.html', 'before-after.png',
  'samples', 'checkpoints', 'lora', 'lora-last', 'model', 'model-last',
]);
const OWN_NAMES = /^(?:events\.out\.tfevents\..+|\.lock.*|\..+\.tmp)$/;

/** @throws ConfigError unless it is a run's folder, itself and no link to one, in which there is nothing but what runs write */
export async function checkRemovable(given: string): Promise<void> {
  const folder = resolve(given); // `link/` and `link/.` would be what the link leads to
  const kind = await lstat(folder).catch(() => null);
  if (kind?.isSymbolicLink()) throw new ConfigError(`${folder} is a link; give the run's own folder`);
  if (!kind?.isDirectory() || !(await isRun(folder))) throw new ConfigError(`${folder} is no run, so nothing is removed`);
  if (`${process.cwd()}${sep}`.startsWith(`${await realpath(folder)}${sep}`)) {
    throw new ConfigError(`${folder} is where this command was called; call it from elsewhere`);
  }
  const others = (await readdir(folder)).filter((name) => !OWN.has(name) && !OWN_NAMES.test(name));
  if (others.length > 0) {
    const more = others.length > 1 ? ` and ${others.length - 1} more` : '';
    throw new ConfigError(`${folder} holds ${others[0]}${more}, which no run writes; nothing is removed. Move it away first`);
  }
}

/**
 * Removes a run. Its settings go last, so that what a failure leaves is a run still.
 *
 * @throws ConfigError as `checkRemovable`, and if it is running (or held by a process elsewhere)
 */
export async function removeRun(given: string): Promise<void> {
  const folder = resolve(given);
  await checkRemovable(folder);
  const lock = await lockFolder(folder, () => {});
  try {
    const names = (await readdir(folder)).filter((name) => OWN.has(name) || OWN_NAMES.test(name));
    const last = ['manifest.json', 'config.yaml'];
    for (const name of [...names.filter((n) => n !== '.lock' && !last.includes(n)), ...last]) {
      await rm(join(folder, name), { recursive: true, force: true });
    }
  } finally {
    await lock.release();
  }
  await rmdir(folder);
}

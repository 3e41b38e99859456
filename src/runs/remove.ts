/** @file Removing a run: of a folder that is one and that nobody uses, the files that runs write. */
import { lstat, readdir, realpath, rm, rmdir } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { ConfigError } from '../formats/errors.js';
import { lockFolder } from './lock.js';
import { isRun } from './overview.js';

/** Paths below the folder, with slashes, that runs of all versions write. Folders are none: they go when they are empty. */
const OWN = [
  /^(?:config\.yaml|manifest\.json|events\.jsonl|metrics\.jsonl|summary\.json|report\.html|before-after\.png)$/,
  /^(?:events\.out\.tfevents\..+|\.lock.*|\.stop)$/,
  /^samples\/step-\d+(?:\.png|\/(?:strength-[\d.e+-]+\/)?\d+\.png)$/,
  /^checkpoints\/\.?step-\d{6,}(?:\.damaged|\.tmp)?\/state\.(?:json|safetensors)$/,
  /^lora(?:-last)?\/(?:kohya|pytorch_lora_weights|pytorch_lora_weights_old_names)\.safetensors$/,
  /^lora(?:-last)?\/peft\/adapter_(?:config\.json|model\.safetensors)$/,
  // A pipeline in diffusers layout.
  /^model(?:-last)?\/(?:model_index\.json|scheduler\/scheduler_config\.json)$/,
  /^model(?:-last)?\/[a-z\d_]+\/(?:config\.json|(?:diffusion_pytorch_)?model(?:-\d+-of-\d+)?\.safetensors(?:\.index\.json)?)$/,
  /^model(?:-last)?\/tokenizer(?:_\d)?\/(?:merges\.txt|(?:vocab|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json)$/,
  // A pretraining's.
  /^(?:latest\.json|state-\d+\.safetensors(?:\.damaged)?)$/,
  /^(?:.+\/)?\.[^/]+\.[0-9a-f]{12}\.tmp$/,
];

/** Removed last, so that what a failure leaves is a run still. */
const LAST = ['manifest.json', 'config.yaml'];

interface Content {
  readonly own: string[];
  readonly others: string[];
  /** The deepest first. */
  readonly folders: string[];
}

/** What is in the folder, by whether runs write it. Links are not followed. */
async function contentOf(folder: string, below = '', content: Content = { own: [], others: [], folders: [] }): Promise<Content> {
  for (const entry of await readdir(join(folder, below), { withFileTypes: true })) {
    const path = `${below}${entry.name}`;
    if (entry.isDirectory()) {
      await contentOf(folder, `${path}/`, content);
      content.folders.push(path);
    } else {
      (OWN.some((pattern) => pattern.test(path)) ? content.own : content.others).push(path);
    }
  }
  return content;
}

/**
 * @returns the files in it, paths below it, that no run writes and that are kept
 * @throws ConfigError unless it is a run's folder, itself and no link to one
 */
export async function checkRemovable(given: string): Promise<string[]> {
  const folder = resolve(given); // `link/` and `link/.` would be what the link leads to
  const kind = await lstat(folder).catch(() => null);
  if (kind?.isSymbolicLink()) throw new ConfigError(`${folder} is a link; give the run's own folder`);
  if (!kind?.isDirectory() || !(await isRun(folder))) throw new ConfigError(`${folder} is no run, so nothing is removed`);
  if (`${process.cwd()}${sep}`.startsWith(`${await realpath(folder)}${sep}`)) {
    throw new ConfigError(`${folder} is where this command was called; call it from elsewhere`);
  }
  return (await contentOf(folder)).others;
}

/**
 * Removes a run: its files, and the folders that are empty then.
 *
 * @returns the files that were kept, as `checkRemovable`
 * @throws ConfigError as `checkRemovable`, and if it is running (or held by a process elsewhere)
 */
export async function removeRun(given: string): Promise<string[]> {
  const folder = resolve(given);
  await checkRemovable(folder);
  const lock = await lockFolder(folder, () => {});
  let content: Content;
  try {
    content = await contentOf(folder);
    const { own, folders } = content;
    for (const path of own.filter((p) => !LAST.includes(p) && p !== '.lock')) await rm(join(folder, path), { force: true });
    for (const path of folders) await rmdir(join(folder, path)).catch(ignoreNotEmpty);
    for (const path of LAST) await rm(join(folder, path), { force: true });
  } finally {
    await lock.release();
  }
  await rmdir(folder).catch(ignoreNotEmpty);
  return content.others;
}

function ignoreNotEmpty(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
}

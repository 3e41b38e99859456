/** @file Where a LoRA lies, by what a user calls it: a path, or a hub id `org/name[/file][@revision]`. */
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FormatError } from '../formats/errors.js';
import { fetchFiles, insideCache } from './hub.js';
import type { FetchOptions } from './hub.js';

const HUB_LORA = /^([\w-][\w.-]*\/[\w-][\w.-]*)((?:\/[\w-][^/@]*)*)(@[\w./-]+)?$/;
const WEIGHTS = /\.(?:safetensors|bin|pt|pth|ckpt)$/;

/** What a repository or one of its folders may hold: the first that is there is taken. */
const LAYOUTS = [
  ['pytorch_lora_weights.safetensors'], ['adapter_config.json', 'adapter_model.safetensors'],
  ['pytorch_lora_weights.bin'], ['adapter_config.json', 'adapter_model.bin'],
];

/**
 * The file or folder of a LoRA, fetched from the hub if it is no path. A path comes first; what begins with a folder
 * that exists, or is one segment, is always one.
 *
 * @throws FormatError for what is neither
 */
export async function findLora(name: string, options: FetchOptions = {}): Promise<string> {
  if (await exists(name)) return insideCache(name);
  const [, repository, inside = '', revision = ''] = HUB_LORA.exec(name) ?? [];
  if (repository === undefined || WEIGHTS.test(repository) || (await exists(name.split('/', 1)[0]!))) {
    throw new FormatError(name, 'does not exist',
      'Check the path of the LoRA, or name one of the hub: org/name, or org/name/file.safetensors.');
  }
  const from = repository + revision;
  const path = inside.slice(1);
  if (WEIGHTS.test(path)) {
    const config = /(?:^|\/)adapter_model\.\w+$/.test(path) ? [join(dirname(path), 'adapter_config.json')] : [];
    return join(await fetchFiles(from, [path, ...config], options), path);
  }
  let offline: FormatError | undefined;
  for (const layout of LAYOUTS) {
    const files = layout.map((file) => (path === '' ? file : `${path}/${file}`));
    const snapshot = await fetchFiles(from, files, options).catch((error: unknown) => {
      // A repository that is there but has other files, or whose cache has: another layout may be there.
      if (!(error instanceof FormatError) || !/does not hold what is needed|not completely in the cache/.test(error.message)) throw error;
      if (error.message.includes('in the cache')) offline ??= error;
    });
    // The file itself, since the snapshot may hold other LoRAs that were fetched before.
    if (snapshot !== undefined) return join(snapshot, files.at(-1)!);
  }
  if (offline) throw offline;
  throw new FormatError(name, 'holds no LoRA under a usual name (pytorch_lora_weights or adapter_model)',
    'Name the file: org/name/file.safetensors.');
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

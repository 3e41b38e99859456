/** @file A VAE by itself, in the place of a model's own: a folder, or a file, which has no configuration. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError, shown } from '../formats/errors.js';
import { readJsonFile } from '../formats/json-file.js';
import { vaeFromFile } from '../formats/names/ldm-vae.js';
import { openWeights } from '../formats/open-weights.js';
import { openComponentFolder } from './component-files.js';
import { componentSchema } from '../models/components.js';
import { parseConfig } from '../models/config.js';
import type { OpenPart } from './load-folder.js';

/** The classes of VAE, for `model_index.json` and `config.json`. */
export const VAE_CLASSES = ['AutoencoderKL', 'AutoencoderTiny'] as const;

/**
 * Opens a VAE; the caller closes it.
 *
 * @param path a folder with `config.json`, the folder of a whole pipeline, or a file with original or diffusers' names
 * @param own configuration of the model's own VAE, which is also that of a file
 * @throws FormatError naming the file and what is wrong with it
 */
export async function openVae(path: string, own: unknown): Promise<OpenPart> {
  if ((await stat(path).catch(() => null))?.isDirectory()) {
    const whole = (await stat(join(path, 'model_index.json')).catch(() => null)) !== null;
    const folder = whole ? join(path, 'vae') : path;
    const config = join(folder, 'config.json');
    const { _class_name: given } = await readJsonFile(config);
    const kind = VAE_CLASSES.find((known) => known === given);
    if (kind) return { name: 'vae', kind, ...(await openComponentFolder(folder, kind)) } as OpenPart;
    throw new FormatError(config, `"_class_name" is ${shown(String(given))}`, `Supported are ${VAE_CLASSES.join(', ')}.`);
  }
  const kind = 'AutoencoderKL';
  const config = parseConfig(componentSchema(kind), own, `${path} (with the configuration of the model's own VAE)`);
  const file = await openWeights(path);
  try {
    return { name: 'vae', kind, config, source: vaeFromFile(file) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

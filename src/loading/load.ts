/** @file Loads a text-to-image model by what a user calls it: a folder, a single file, a hub id, or a bundled name. */
import { stat } from 'node:fs/promises';
import { FormatError } from '../formats/errors.js';
import { BUNDLED_MODELS, bundledModel } from './bundled.js';
import { fetchConfigs, fetchSnapshot, fetchVae, HUB_ID, insideCache } from './hub.js';
import type { ModelFamily } from '../models/families/family.js';
import { folderFamily, loadFolder } from './load-folder.js';
import type { LoadOptions } from './load-folder.js';
import { loadSingleFile, singleFileFamily } from './load-single-file.js';
import type { SingleFileOptions } from './load-single-file.js';
import type { Pipeline } from '../models/pipeline.js';
import { withEmbeddings } from '../models/text-embeddings.js';
import { readEmbeddings } from './embeddings.js';

/** The folder, with or without weights, of a bundled name, folder or hub id. */
async function layoutFolder(model: string): Promise<string> {
  const bundled = bundledModel(model);
  if (bundled) return bundled.folder;
  if ((await stat(model).catch(() => null))?.isDirectory()) return insideCache(model);
  if (HUB_ID.test(model)) return fetchConfigs(model);
  throw new FormatError(model, 'is no folder or hub id (org/name)', 'Give one in diffusers layout.');
}

/**
 * Loads a pipeline with all its weights as float32.
 *
 * @param model a bundled name, a folder in diffusers layout, a file with the original (LDM) names (safetensors or PyTorch), or a
 *   hub id `org/name[@revision]`; a folder may be the model's own in a cache of the hub
 * @param options `like` is for single files only; `vae` may also be a bundled name or a hub id
 * @throws FormatError that names the file, what is wrong and what to do
 */
export async function loadPipeline(model: string, options: LoadOptions & SingleFileOptions = {}): Promise<Pipeline> {
  const { prediction } = options;
  const vae = options.vae === undefined ? undefined : await vaePath(options.vae, options);
  const loaded = await loadAny(model, { ...options, vae });
  const pipeline = withEmbeddings(loaded, await readEmbeddings(options.embeddings ?? []));
  return {
    ...pipeline,
    ...(prediction && { scheduler: { ...pipeline.scheduler, prediction_type: prediction } }),
    ...(options.clipSkip !== undefined && { clipSkip: checkedSkip(pipeline, options.clipSkip) }),
  };
}

/** @throws FormatError if a text encoder has too few layers for it */
function checkedSkip({ family, textEncoders, source }: Pipeline, skip: number): number {
  const most = Math.min(...textEncoders.map(({ config }) => config.num_hidden_layers)) - family.conditions.skippedLayers;
  if (skip <= most) return skip;
  throw new FormatError(source, `has too few layers of text for a clip skip of ${skip}`, `Give at most ${most}.`);
}

/** The folder or file of what is named as VAE: that of a bundled model, a path, or a hub id. */
async function vaePath(vae: string, { onProgress }: LoadOptions): Promise<string> {
  const bundled = bundledModel(vae);
  if (bundled) return bundled.folder;
  if (await stat(vae).catch(() => null)) return insideCache(vae);
  if (HUB_ID.test(vae)) return fetchVae(vae, { bytes: onProgress });
  throw new FormatError(vae, 'is no folder, file or hub id (org/name) of a VAE', 'Check the path.');
}

const noModel = (name: string): FormatError =>
  new FormatError(name, 'is no folder, file or hub id (org/name)', `Bundled: ${BUNDLED_MODELS.map((m) => m.name).join(', ')}.`);

/**
 * The family of a model by what a user calls it, from what says how it is built: no weights are read.
 *
 * @param like for a single file, as in `loadPipeline`
 * @throws FormatError as `loadPipeline`
 */
export async function familyOf(model: string, like?: string): Promise<ModelFamily> {
  const bundled = bundledModel(model);
  if (bundled) return bundled.family;
  const found = await stat(model).catch(() => null);
  if (!found && !HUB_ID.test(model)) throw noModel(model);
  if (!found || found.isDirectory()) return folderFamily(await layoutFolder(model));
  return like === undefined ? singleFileFamily(model) : folderFamily(await layoutFolder(like));
}

async function loadAny(model: string, options: LoadOptions & SingleFileOptions): Promise<Pipeline> {
  const { like } = options;
  const bundled = bundledModel(model);
  const found = bundled ? null : await stat(model).catch(() => null);
  if (found && !found.isDirectory()) {
    return loadSingleFile(model, { ...options, ...(like !== undefined && { like: await layoutFolder(like) }) });
  }
  if (like !== undefined) {
    throw new FormatError(model, 'is no file, and tells itself how it is built', 'Leave out --like.');
  }
  if (bundled) return loadFolder(bundled.folder, { ...options, bundled });
  if (found) return loadFolder(await insideCache(model), { name: model, ...options });
  if (HUB_ID.test(model)) {
    const folder = await fetchSnapshot(model, { ...options, bytes: options.onProgress });
    return loadFolder(folder, { ...options, name: model });
  }
  throw noModel(model);
}

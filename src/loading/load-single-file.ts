/** @file Loads a pipeline from one checkpoint with the names of the original code. */
import { join } from 'node:path';
import { FormatError, shown } from '../formats/errors.js';
import { readJsonFile } from '../formats/json-file.js';
import { detectSingleFile, refuseEdm, singleFileComponent } from '../formats/names/single-file.js';
import type { SingleFilePart, Family as OriginalNames } from '../formats/names/single-file.js';
import { openWeights } from '../formats/open-weights.js';
import type { WeightSource } from '../formats/weights.js';
import { deferred } from '../host/resources.js';
import { componentSchema } from '../models/components.js';
import { parseConfig } from '../models/config.js';
import { fetchFiles } from './hub.js';
import type { ModelFamily } from '../models/families/family.js';
import { familiesOfClass, familyOfNames, ownerOf } from '../models/families/registry.js';
import { assemble, partsOf, pipelineScheduler, tokenizerPart } from './load-folder.js';
import type { Assembly, LoadOptions, OpenPart } from './load-folder.js';
import { openVae } from './load-vae.js';
import type { Pipeline } from '../models/pipeline.js';

export interface SingleFileOptions {
  /**
   * A bundled name, hub id or folder in diffusers layout (its weights are not needed) that says how the model is
   * built: for checkpoints of other sizes than the published ones, for their tokenizer, and for what they predict, as
   * SD 2.x files do not tell themselves.
   */
  like?: string | undefined;
  /** What the network predicts, where neither the file nor `like` tells it rightly. */
  prediction?: Prediction | undefined;
}

export const PREDICTIONS = ['epsilon', 'v_prediction'] as const;
export type Prediction = (typeof PREDICTIONS)[number];

/** @throws FormatError naming the file and what is wrong */
export async function loadSingleFile(path: string, options: LoadOptions & SingleFileOptions = {}): Promise<Pipeline> {
  const file = await openWeights(path);
  let other: OpenPart | undefined;
  await using _ = deferred(() => Promise.all([file.close(), other?.source.close()]));
  const { like, vae } = options;
  refuseEdm(file);
  const plan = like === undefined ? await publishedPlan(file, options) : await planLike(like);
  const { names, family, configs } = plan;
  const found = [...partsOf(family)].filter(([name]) => Object.hasOwn(configs, name) && (name !== 'vae' || !vae));
  const parts = found.map(([name, [kind]]): OpenPart => {
    const source = singleFileComponent(file, names, name as SingleFilePart);
    const config = parseConfig(componentSchema(kind!), configs[name], `${path} (${name})`);
    return { name, kind, config, source } as OpenPart;
  });
  if (vae !== undefined) {
    other = await openVae(vae, configs['vae']);
    parts.push(other);
  }
  const { name = path, onProgress, precision } = options;
  return await assemble(parts, { ...plan, source: name, precision, ...(onProgress && { onProgress }) });
}

/** The family whose published model a file's names and shapes show. @throws FormatError for another */
export async function singleFileFamily(path: string): Promise<ModelFamily> {
  const file = await openWeights(path);
  await using _ = deferred(() => file.close());
  return familyOfNames(detectSingleFile(file).family);
}

/** How a checkpoint is built that does not say so itself. */
interface Layout extends Omit<Assembly, 'source' | 'onProgress' | 'precision'> {
  names: OriginalNames;
  /** By part. */
  configs: Readonly<Record<string, unknown>>;
}

/** The published model of the family that the file's shapes show. */
async function publishedPlan(file: WeightSource, options: LoadOptions & SingleFileOptions): Promise<Layout> {
  const found = detectSingleFile(file);
  const family = familyOfNames(found.family);
  const { part } = family.denoiser;
  const { published } = family.singleFile!;
  const { names, configs, scheduler, zeroEmptyNegative, tokenizers } = published!;
  let prediction = options.prediction ?? found.prediction;
  if (!prediction && published!.guessPrediction) {
    const guess = await published!.guessPrediction(file, found);
    ({ prediction } = guess);
    options.onWarning?.(guess.warning);
  }
  const told = published!.denoiser(singleFileComponent(file, names, part as SingleFilePart), { ...found, ...(prediction && { prediction }) });
  const tokenizerFolders: string[] = [];
  for (const { repository, files } of tokenizers) {
    tokenizerFolders.push(await fetchFiles(repository, files).catch((cause: unknown) => {
      throw new FormatError(file.where, `has no tokenizer in it, and ${(cause as Error).message}`,
        'Or say with --like which folder or hub id the checkpoint is built like.', { cause });
    }));
  }
  return {
    names,
    family,
    bundled: null,
    configs: { ...configs, [part]: { ...configs[part], ...told, in_channels: found.inChannels } },
    scheduler: {
      ...scheduler,
      ...(prediction && { prediction_type: prediction }),
      ...(found.zeroTerminalSnr && { rescale_betas_zero_snr: true }),
    },
    zeroEmptyNegative,
    tokenizerFolders,
    tokenizerOverrides: tokenizers.map(({ overrides }) => overrides),
  };
}

/** The configurations of a folder in diffusers layout. */
async function planLike(folder: string): Promise<Layout> {
  const read = (...parts: string[]): Promise<Record<string, unknown>> => readJsonFile(join(folder, ...parts));
  const index = await read('model_index.json');
  const candidates = familiesOfClass(index['_class_name']).filter(({ singleFile }) => singleFile);
  if (candidates.length === 0) {
    throw new FormatError(join(folder, 'model_index.json'), `"_class_name" is ${shown(String(index['_class_name']))}`,
      'There are no single files of such models that can be read.');
  }
  const names = [...partsOf(candidates[0]!).keys()];
  const configs: Record<string, unknown> = {};
  for (const name of names) configs[name] = await read(name, 'config.json');
  const family = ownerOf(candidates, configs[names[0]!]);
  return {
    names: family.singleFile!.names(configs),
    family,
    bundled: null,
    configs,
    scheduler: pipelineScheduler(index, await read('scheduler', 'scheduler_config.json')),
    zeroEmptyNegative: family.folder.zeroEmptyNegative(index),
    tokenizerFolders: family.folder.textEncoders.map(({ name }) => join(folder, tokenizerPart(name))),
  };
}

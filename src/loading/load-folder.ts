/** @file Loads a pipeline from a folder in diffusers layout: `model_index.json` and a folder for each component. */
import { join } from 'node:path';
import { FormatError, shown } from '../formats/errors.js';
import { readJsonFile } from '../formats/json-file.js';
import { byteLength } from '../formats/weights.js';
import type { WeightSource } from '../formats/weights.js';
import type { HostTensor } from '../graph/dtype.js';
import { deferred } from '../host/resources.js';
import { openComponentFolder, readWeights } from './component-files.js';
import type { OnBytes } from './component-files.js';
import type { ComponentClass, ComponentConfigs } from '../models/components.js';
import { openVae, VAE_CLASSES } from './load-vae.js';
import type { BundledModel, ModelFamily } from '../models/families/family.js';
import { familiesOfClass, ownerOf, pipelineClasses } from '../models/families/registry.js';
import type { Precision } from '../nn/precision.js';
import type { Pipeline, TextConfig, TextEncoder, Vae } from '../models/pipeline.js';
import { loadTokenizer } from './tokenizer-files.js';
import type { TokenizerOverrides } from '../models/tokenizer.js';

export interface LoadOptions {
  /** 'fp16' or 'bf16' to insist on these files; by default the plain ones are preferred. */
  variant?: string;
  /** Bytes read (or downloaded) so far and in all. */
  onProgress?: OnBytes;
  /** Told what had to be assumed. */
  onWarning?: (text: string) => void;
  /** Folder or file of a VAE in the place of the model's own. */
  vae?: string | undefined;
  /** Embeddings of Textual Inversion, `FILE[:token]` each. */
  embeddings?: readonly string[] | undefined;
  /** Last layers of the text encoders that are left out for prompts, as diffusers counts. */
  clipSkip?: number | undefined;
  /** What weights lie in memory as, and networks compute in; float32 by default. */
  precision?: Precision | undefined;
  /** What to call the model in messages and manifests; the folder by default. */
  name?: string;
  /** Which of the package's own models it is. */
  bundled?: BundledModel;
}

/** A component's configuration, and its weights not yet read. */
export type OpenPart = {
  [K in ComponentClass]: { name: string; kind: K; config: ComponentConfigs[K]; source: WeightSource };
}[ComponentClass];

/** Entries of `model_index.json` that change nothing here, or are read by name. */
const INERT = /^(_class_name|_diffusers_version|_name_or_path|_use_default_values|safety_checker|feature_extractor|image_encoder|requires_safety_checker|add_watermarker|force_zeros_for_empty_prompt|tokenizer(_\d)?|scheduler)$/;

/** @throws FormatError naming file and key */
export async function loadFolder(folder: string, options: LoadOptions = {}): Promise<Pipeline> {
  const path = join(folder, 'model_index.json');
  const index = await readJsonFile(path);
  const candidates = candidatesOf(index, folder);
  const expected = partsOf(candidates[0]!);
  const unknown = Object.keys(index).find((key) => !INERT.test(key) && !expected.has(key));
  if (unknown !== undefined) {
    throw new FormatError(path, `has the unknown key "${shown(unknown)}"`, 'This pipeline needs more than Attune has.');
  }
  const parts: OpenPart[] = [];
  await using _ = deferred(() => Promise.all(parts.map((part) => part.source.close())));
  for (const [name, classes] of expected) {
    if (name === 'vae' && options.vae !== undefined) {
      parts.push(await openVae(options.vae, await readJsonFile(join(folder, name, 'config.json')).catch(() => ({}))));
      continue;
    }
    const component = componentClass(index, name, classes, path);
    const opened = await openComponentFolder(join(folder, name), component, options.variant);
    parts.push({ name, kind: component, ...opened } as OpenPart);
  }
  const family = ownerOf(candidates, parts[0]!.config);
  return await assemble(parts, {
    source: options.name ?? folder,
    family,
    bundled: options.bundled ?? null,
    tokenizerFolders: family.folder.textEncoders.map(({ name }) => join(folder, tokenizerPart(name))),
    scheduler: pipelineScheduler(index, await readJsonFile(join(folder, 'scheduler', 'scheduler_config.json'))),
    zeroEmptyNegative: family.folder.zeroEmptyNegative(index),
    precision: options.precision,
    ...(options.onProgress && { onProgress: options.onProgress }),
  });
}

/** The family of a folder's model, by its configuration alone. @throws FormatError naming file and key */
export async function folderFamily(folder: string): Promise<ModelFamily> {
  const candidates = candidatesOf(await readJsonFile(join(folder, 'model_index.json')), folder);
  const path = join(folder, candidates[0]!.denoiser.part, 'config.json');
  return ownerOf(candidates, await readJsonFile(path));
}

/** @throws FormatError for a class of pipeline that no family has */
function candidatesOf({ _class_name: given }: Readonly<Record<string, unknown>>, folder: string): ModelFamily[] {
  const candidates = familiesOfClass(given);
  if (candidates.length > 0) return candidates;
  throw new FormatError(join(folder, 'model_index.json'), `"_class_name" is ${shown(String(given))}`, `Supported are ${pipelineClasses().join(', ')}.`);
}

/** The parts with weights and their classes; families of one class of pipeline have the same. The denoiser is the first. */
export function partsOf({ denoiser, folder }: ModelFamily): Map<string, readonly ComponentClass[]> {
  return new Map<string, readonly ComponentClass[]>([
    [denoiser.part, denoiser.kinds], ['vae', VAE_CLASSES], ...folder.textEncoders.map(({ name, kinds }) => [name, kinds] as const),
  ]);
}

/** The folder of a text encoder's tokenizer. */
export const tokenizerPart = (encoder: string): string => encoder.replace('text_encoder', 'tokenizer');

/**
 * A `scheduler_config.json` as the pipeline's class takes it: the scheduler's class is that of `model_index.json`, and
 * some settings are the pipeline's whatever the file says.
 */
export function pipelineScheduler(
  index: Readonly<Record<string, unknown>>, file: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const entry = index['scheduler'];
  const given = Array.isArray(entry) ? (entry[1] as unknown) : undefined;
  const { _use_default_values: defaults } = file;
  const fixed = familiesOfClass(index['_class_name'])[0]?.folder.scheduler(index) ?? {};
  return {
    ...file,
    ...(typeof given === 'string' && { _class_name: given }),
    ...fixed,
    ...(Array.isArray(defaults) && { _use_default_values: defaults.filter((key) => !Object.hasOwn(fixed, key as string)) }),
  };
}

/** The class that `model_index.json` gives a component: `"unet": ["diffusers", "UNet2DConditionModel"]`. */
function componentClass(
  index: Readonly<Record<string, unknown>>, name: string, classes: readonly ComponentClass[], path: string,
): ComponentClass {
  const entry = index[name];
  const given = Array.isArray(entry) ? (entry[1] as unknown) : undefined;
  const found = classes.find((k) => k === given);
  if (found) return found;
  const problem = given == null ? `has no "${name}"` : `"${name}" is a ${shown(String(given))}`;
  throw new FormatError(path, problem, `Supported are ${classes.join(', ')}.`);
}

export interface Assembly {
  source: string;
  family: ModelFamily;
  bundled: BundledModel | null;
  /** One for each text encoder. */
  tokenizerFolders: readonly string[];
  tokenizerOverrides?: readonly TokenizerOverrides[];
  scheduler: Readonly<Record<string, unknown>>;
  zeroEmptyNegative: boolean;
  precision: Precision | undefined;
  onProgress?: OnBytes;
}

/** Reads the weights of opened parts, the denoiser's first, and checks that they fit each other. The caller closes them. */
export async function assemble(parts: readonly OpenPart[], assembly: Assembly): Promise<Pipeline> {
  const { source, family, bundled, tokenizerFolders, tokenizerOverrides, scheduler, zeroEmptyNegative, onProgress, precision } = assembly;
  const part = (name: string): OpenPart => parts.find((p) => p.name === name)!;
  const denoiser = part(family.denoiser.part);
  const vae = part('vae') as OpenPart & Vae;
  const textEncoders = await Promise.all(family.folder.textEncoders.map(async ({ name }, i): Promise<TextEncoder> => {
    const { kind, config } = part(name);
    const files = { folder: tokenizerFolders[i]!, overrides: tokenizerOverrides?.[i] ?? {} };
    const tokenizer = await loadTokenizer(files.folder, files.overrides);
    return { name, kind, config: config as TextConfig, tokenizer, tokenizerFiles: files };
  }));
  checkParts({ family, denoiser, vae, textEncoders }, source);

  const total = parts.flatMap((part) => [...part.source.tensors.values()]).reduce((sum, t) => sum + byteLength(t), 0);
  const weights = new Map<string, HostTensor>();
  let before = 0;
  for (const { name, kind, config, source: file } of parts) {
    let last = 0;
    const progress = (done: number): void => onProgress?.(before + (last = done), total);
    const values = await readWeights(file, kind, config, progress, precision?.storage);
    before += last;
    for (const [key, value] of values) weights.set(`${name}.${key}`, value);
  }
  return {
    source,
    family,
    bundled,
    denoiser: { kind: denoiser.kind, config: denoiser.config },
    vae: { kind: vae.kind, config: vae.config } as Vae,
    textEncoders,
    scheduler,
    zeroEmptyNegative,
    ...(precision && { precision: { ...precision, islands: [...precision.islands, ...(family.float32Parts ?? [])] } }),
    weights,
  };
}

/** @throws FormatError if widths of one part do not fit another */
function checkParts(
  { family, denoiser, vae, textEncoders }: Pick<Pipeline, 'family' | 'denoiser' | 'vae' | 'textEncoders'>, where: string,
): void {
  const problem = ((): string | null => {
    const latent = vae.config.latent_channels;
    const channels = family.denoiser.channels(denoiser.config);
    if (channels !== latent) {
      return `the denoiser takes ${channels} channels, the VAE has ${latent} (inpainting is not supported)`;
    }
    const misfit = family.folder.misfit(denoiser.config, textEncoders);
    if (misfit !== null) return misfit;
    for (const { name, config, tokenizer } of textEncoders) {
      const { maxLength, largest } = tokenizer;
      const { max_position_embeddings: positions, vocab_size: words } = config;
      if (maxLength > positions) return `${name} takes ${positions} tokens, its tokenizer gives ${maxLength}`;
      if (largest >= words) return `${name} knows ${words} tokens, its tokenizer one of the id ${largest}`;
    }
    return null;
  })();
  if (problem) throw new FormatError(where, problem, 'Its parts must come from one model.');
}

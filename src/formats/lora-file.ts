/** @file Reading and writing LoRA files of every dialect. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { deferred } from '../host/resources.js';
import { writeAtomic } from './atomic.js';
import { FormatError, shown } from './errors.js';
import {
  LORA_COMPONENTS, guessBaseModel, layersOf, type BundledEmbeddings, type LoraFile, type LoraLayer,
} from './lora.js';
import { collectLayers, type Collected } from './lora-dialects/collect.js';
import { diffusersAlpha, toDiffusers, toOldDiffusers } from './lora-dialects/diffusers.js';
import { parseDotted } from './lora-dialects/dotted.js';
import { readEmbeddings } from './lora-dialects/embeddings.js';
import { withOneAlpha, withoutScale } from './lora-dialects/fold.js';
import { isKohya, isOriginalName, parseKohya, toKohya } from './lora-dialects/kohya.js';
import { leftOut } from './lora-dialects/left-out.js';
import { PEFT_CONFIG, PEFT_WEIGHTS, peftAlpha, toPeft } from './lora-dialects/peft.js';
import { loraMetadata, withHashes, type LoraFacts } from './lora-metadata.js';
import { openWeights } from './open-weights.js';
import { writeSafetensors } from './safetensors.js';
import { safetensorsOrBin } from './sharded.js';
import type { WeightSource } from './weights.js';

export const LORA_DIALECTS = ['kohya', 'diffusers', 'diffusers-old', 'peft'] as const;
/** The dialects that can be written. */
export type LoraDialect = (typeof LORA_DIALECTS)[number];

export interface LoraReading {
  readonly lora: LoraFile;
  /** 'comfy' has the original code's module names with dots. */
  readonly dialect: LoraDialect | 'comfy';
  /** Keys that were not understood, or belong to a layer with such a key: that layer is left out. */
  readonly unknown: readonly string[];
  /** Parts that are absent, as `module: part`. */
  readonly missing: readonly string[];
}

const DIFFUSERS_WEIGHTS = ['pytorch_lora_weights.safetensors', 'pytorch_lora_weights.bin'];

/**
 * Reads a LoRA.
 * @param path a safetensors or PyTorch file, or a folder of PEFT or diffusers, or one with a single safetensors file. A
 *   PEFT LoRA for several models has a folder for each: `unet`, `transformer`, `text_encoder`, `text_encoder_2`
 * @throws FormatError also for NaN and infinity
 */
export async function readLora(path: string): Promise<LoraReading> {
  const kind = await kindOf(path);
  if (kind !== 'folder') {
    if (kind === 'missing') throw new FormatError(path, 'does not exist', 'Check the path of the LoRA.');
    return readOne(path);
  }
  if (await kindOf(join(path, PEFT_CONFIG)) === 'file') return readOne(await safetensorsOrBin(path, PEFT_WEIGHTS));
  const parts: LoraReading[] = [];
  for (const component of LORA_COMPONENTS) {
    const folder = join(path, component);
    if (await kindOf(join(folder, PEFT_CONFIG)) === 'file') {
      parts.push(await readOne(await safetensorsOrBin(folder, PEFT_WEIGHTS)));
    }
  }
  if (parts.length === 0) return readOne(await weightsIn(path));
  const layers = new Map(parts.flatMap((part) => [...part.lora.layers]));
  const metadata = Object.assign({}, ...parts.map((part) => part.lora.metadata)) as Record<string, string>;
  return {
    lora: loraOf(layers, metadata),
    dialect: 'peft',
    unknown: parts.flatMap((part) => part.unknown),
    missing: parts.flatMap((part) => part.missing),
  };
}

async function kindOf(path: string): Promise<'file' | 'folder' | 'missing'> {
  return stat(path).then((found) => (found.isDirectory() ? 'folder' : 'file'), () => 'missing');
}

/** The file of a folder that is not PEFT's: by diffusers' name, or the only one. */
async function weightsIn(folder: string): Promise<string> {
  const names = await readdir(folder);
  const known = DIFFUSERS_WEIGHTS.find((name) => names.includes(name));
  const weights = names.filter((name) => name.endsWith('.safetensors'));
  if (known !== undefined) return join(folder, known);
  if (weights.length === 1) return join(folder, weights[0]!);
  const found = weights.length === 0 ? 'no LoRA' : `${weights.length} safetensors files, none called ${DIFFUSERS_WEIGHTS[0]}`;
  throw new FormatError(folder, `holds ${found}`, 'Name the file.');
}

interface Extras {
  readonly embeddings?: BundledEmbeddings | undefined;
  readonly originalNames?: boolean;
}

function loraOf(
  layers: ReadonlyMap<string, LoraLayer>, metadata: Readonly<Record<string, string>>,
  { embeddings, originalNames }: Extras = {},
): LoraFile {
  const baseModel = guessBaseModel(layers, metadata, originalNames);
  return { layers, metadata, ...(baseModel !== undefined && { baseModel }), ...(embeddings && { embeddings }) };
}

async function readOne(path: string): Promise<LoraReading> {
  const source = await openWeights(path);
  await using _ = deferred(() => source.close());
  const dialect = dialectOf(source);
  const { layers, unknown, missing } = await collect(source, dialect, path);
  const keys = [...source.tensors.keys()];
  if (layers.size > 0) {
    const originalNames = dialect === 'kohya' && keys.some(isOriginalName);
    const embeddings = await readEmbeddings(source);
    return { lora: loraOf(layers, source.metadata, { embeddings, originalNames }), dialect, unknown, missing };
  }
  const kinds = leftOut({ unknown, missing }).kinds.slice(0, 4).map(([kind, n]) => `${n} of ${kind}`).join(', ');
  throw new FormatError(path,
    `holds no LoRA layer that can be used (${kinds || 'no layer at all'}); ` +
    `its keys are like "${keys.slice(0, 3).map(shown).join('", "')}"`,
    'LoRAs of the U-Net and text encoders of SD 1.x, SD 2.x and SDXL are supported; LoHa, LoKr, DoRA and other ' +
    'architectures are not.');
}

function dialectOf(source: WeightSource): LoraReading['dialect'] {
  const keys = [...source.tensors.keys()];
  if (keys.some(isKohya)) return 'kohya';
  if (keys.some((key) => /^(diffusion_model|text_encoders)\./.test(key))) return 'comfy';
  if (keys.some((key) => key.startsWith('base_model.model.'))) return 'peft';
  return keys.some((key) => key.includes('.lora_A.')) ? 'diffusers' : 'diffusers-old';
}

async function collect(source: WeightSource, dialect: LoraReading['dialect'], path: string): Promise<Collected> {
  if (dialect === 'kohya') return collectLayers(source, parseKohya, (_, rank) => rank);
  if (dialect !== 'peft') return collectLayers(source, parseDotted, diffusersAlpha(source.metadata, path));
  // An adapter names its modules as its own model does: which model that is, only its folder can say.
  const folder = dirname(path);
  const own = LORA_COMPONENTS.find((component) => component === basename(folder));
  return collectLayers(source, (key) => parseDotted(key, own), await peftAlpha(folder));
}

export interface WriteLoraOptions {
  /** What to say of its making in the metadata. */
  readonly facts?: LoraFacts;
  /** PEFT's `target_modules` by component, where a pattern chose the modules. Default: their full names. */
  readonly targets?: Readonly<Partial<Record<(typeof LORA_COMPONENTS)[number], readonly string[]>>>;
}

/** What of alpha goes into the matrices: docs/decisions.md tells which programs read what. PEFT reads its config. */
const FOLDED: Readonly<Record<LoraDialect, (lora: LoraFile) => ReadonlyMap<string, LoraLayer>>> = {
  kohya: withOneAlpha, diffusers: withoutScale, 'diffusers-old': withoutScale, peft: ({ layers }) => layers,
};

/** A LoRA with its matrices and alphas as `writeLora` writes them. */
export const asWritten = (lora: LoraFile, dialect: LoraDialect): LoraFile => ({ ...lora, layers: FOLDED[dialect](lora) });

/**
 * Writes a LoRA with the metadata that other tools look for, such that all programs which read the dialect apply it
 * with the same strength.
 * @param path the file; for 'peft' the folder
 * @returns the paths of the files written
 */
export async function writeLora(
  path: string, given: LoraFile, dialect: LoraDialect, options: WriteLoraOptions = {},
): Promise<string[]> {
  const { facts, targets = {} } = options;
  const lora = asWritten(given, dialect);
  const metadata = loraMetadata(lora, facts);
  if (dialect !== 'peft') {
    const { tensors, metadata: own } = dialect === 'kohya' ? { tensors: toKohya(lora), metadata: {} }
      : dialect === 'diffusers' ? toDiffusers(lora, targets) : toOldDiffusers(lora);
    await writeSafetensors(path, tensors, withHashes(tensors, { ...metadata, ...own }));
    return [path];
  }
  const written: string[] = [];
  const parts = LORA_COMPONENTS.map((component) => ({ component, layers: layersOf(lora, component) }))
    .filter(({ layers }) => layers.size > 0);
  for (const { component, layers } of parts) {
    // The U-Net alone needs no folder of its own; a text encoder's tells which of the two it is.
    const folder = parts.length === 1 && component === 'unet' ? path : join(path, component);
    const { config, tensors } = toPeft(component, layers, facts?.baseModelName, targets[component]);
    await writeSafetensors(join(folder, PEFT_WEIGHTS), tensors, withHashes(tensors, { ...metadata, format: 'pt' }));
    await writeAtomic(join(folder, PEFT_CONFIG), config);
    written.push(join(folder, PEFT_WEIGHTS), join(folder, PEFT_CONFIG));
  }
  return written;
}

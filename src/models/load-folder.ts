/** @file Loads a pipeline from a folder in diffusers layout: `model_index.json` and a folder for each component. */
import { join } from 'node:path';
import { FormatError, shown } from '../formats/errors.js';
import { readJsonFile } from '../formats/json.js';
import { byteLength } from '../formats/weights.js';
import type { WeightSource } from '../formats/weights.js';
import type { HostTensor } from '../graph/dtype.js';
import { openComponentFolder, readWeights } from './component-files.js';
import type { OnBytes } from './component-files.js';
import type { ComponentClass, ComponentConfigs } from './components.js';
import { openVae, VAE_CLASSES } from './load-vae.js';
import type { PartName, Pipeline, TextEncoder, Vae } from './pipeline.js';
import { loadTokenizer } from './tokenizer-files.js';
import type { TokenizerOverrides } from './tokenizer-files.js';

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
  /** What to call the model in messages and manifests; the folder by default. */
  name?: string;
}

/** A component's configuration, and its weights not yet read. */
export type OpenPart = {
  [K in ComponentClass]: { name: PartName; kind: K; config: ComponentConfigs[K]; source: WeightSource };
}[ComponentClass];

const PIPELINES = ['StableDiffusionPipeline', 'StableDiffusionXLPipeline', 'LatentConsistencyModelPipeline'];
const CLASSES: Readonly<Record<PartName, readonly ComponentClass[]>> = {
  unet: ['UNet2DConditionModel'],
  vae: VAE_CLASSES,
  text_encoder: ['CLIPTextModel', 'CLIPTextModelWithProjection'],
  text_encoder_2: ['CLIPTextModelWithProjection'],
};
/** Entries of `model_index.json` that change nothing here. */
const INERT = ['_diffusers_version', '_name_or_path', '_use_default_values', 'safety_checker', 'feature_extractor',
  'image_encoder', 'requires_safety_checker', 'add_watermarker', 'tokenizer', 'tokenizer_2', 'scheduler'];

/** @throws FormatError naming file and key */
export async function loadFolder(folder: string, options: LoadOptions = {}): Promise<Pipeline> {
  const path = join(folder, 'model_index.json');
  const index = await readJsonFile(path);
  const { _class_name: kind, force_zeros_for_empty_prompt: zeros } = index;
  if (!PIPELINES.includes(kind as string)) {
    throw new FormatError(path, `"_class_name" is ${shown(String(kind))}`, `Supported are ${PIPELINES.join(', ')}.`);
  }
  const known = [...Object.keys(CLASSES), ...INERT, '_class_name', 'force_zeros_for_empty_prompt'];
  const unknown = Object.keys(index).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    throw new FormatError(path, `has the unknown key "${shown(unknown)}"`, 'This pipeline needs more than Attune has.');
  }
  const names = kind === 'StableDiffusionXLPipeline'
    ? (['unet', 'vae', 'text_encoder', 'text_encoder_2'] as const)
    : (['unet', 'vae', 'text_encoder'] as const);
  const parts: OpenPart[] = [];
  try {
    for (const name of names) {
      if (name === 'vae' && options.vae !== undefined) {
        parts.push(await openVae(options.vae, await readJsonFile(join(folder, name, 'config.json')).catch(() => ({}))));
        continue;
      }
      const component = componentClass(index, name, path);
      const opened = await openComponentFolder(join(folder, name), component, options.variant);
      parts.push({ name, kind: component, ...opened } as OpenPart);
    }
    const tokenizerFolders = names.slice(2).map((name) => join(folder, name.replace('text_encoder', 'tokenizer')));
    return await assemble(parts, {
      source: options.name ?? folder,
      tokenizerFolders,
      scheduler: pipelineScheduler(index, await readJsonFile(join(folder, 'scheduler', 'scheduler_config.json'))),
      zeroEmptyNegative: kind === 'StableDiffusionXLPipeline' && zeros !== false,
      ...(options.onProgress && { onProgress: options.onProgress }),
    });
  } finally {
    await Promise.all(parts.map((part) => part.source.close()));
  }
}

/**
 * A `scheduler_config.json` as the pipeline's class takes it: the scheduler's class is that of `model_index.json`, and
 * Stable Diffusion 1 and 2 have an offset of 1 and no clipping whatever the file says, as in diffusers.
 */
export function pipelineScheduler(
  index: Readonly<Record<string, unknown>>, file: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const entry = index['scheduler'];
  const given = Array.isArray(entry) ? (entry[1] as unknown) : undefined;
  const { _use_default_values: defaults } = file;
  const fixed = index['_class_name'] === 'StableDiffusionPipeline' ? { steps_offset: 1, clip_sample: false } : {};
  return {
    ...file,
    ...(typeof given === 'string' && { _class_name: given }),
    ...fixed,
    ...(Array.isArray(defaults) && { _use_default_values: defaults.filter((key) => !Object.hasOwn(fixed, key as string)) }),
  };
}

/** The class that `model_index.json` gives a component: `"unet": ["diffusers", "UNet2DConditionModel"]`. */
function componentClass(index: Readonly<Record<string, unknown>>, name: PartName, path: string): ComponentClass {
  const entry = index[name];
  const given = Array.isArray(entry) ? (entry[1] as unknown) : undefined;
  const found = CLASSES[name].find((k) => k === given);
  if (found) return found;
  const problem = given == null ? `has no "${name}"` : `"${name}" is a ${shown(String(given))}`;
  throw new FormatError(path, problem, `Supported are ${CLASSES[name].join(', ')}.`);
}

export interface Assembly {
  source: string;
  /** One for each text encoder. */
  tokenizerFolders: readonly string[];
  tokenizerOverrides?: readonly TokenizerOverrides[];
  scheduler: Readonly<Record<string, unknown>>;
  zeroEmptyNegative: boolean;
  onProgress?: OnBytes;
}

/** Reads the weights of opened parts and checks that the parts fit each other. The caller closes them. */
export async function assemble(parts: readonly OpenPart[], assembly: Assembly): Promise<Pipeline> {
  const { source, tokenizerFolders, tokenizerOverrides, scheduler, zeroEmptyNegative, onProgress } = assembly;
  const unet = parts.find((p) => p.kind === 'UNet2DConditionModel')!;
  const vae = parts.find((p) => p.kind === 'AutoencoderKL' || p.kind === 'AutoencoderTiny')! as OpenPart & Vae;
  const texts = parts.filter((p) => p.kind === 'CLIPTextModel' || p.kind === 'CLIPTextModelWithProjection');
  const textEncoders = await Promise.all(texts.map(async ({ name, kind, config }, i): Promise<TextEncoder> => {
    const files = { folder: tokenizerFolders[i]!, overrides: tokenizerOverrides?.[i] ?? {} };
    const tokenizer = await loadTokenizer(files.folder, files.overrides);
    return { name: name as TextEncoder['name'], kind, config, tokenizer, tokenizerFiles: files };
  }));
  checkFit({ unet: unet.config, vae, textEncoders }, source);

  const total = parts.flatMap((part) => [...part.source.tensors.values()]).reduce((sum, t) => sum + byteLength(t), 0);
  const weights = new Map<string, HostTensor>();
  let before = 0;
  for (const { name, kind, config, source: file } of parts) {
    let last = 0;
    const part = await readWeights(file, kind, config, (done) => onProgress?.(before + (last = done), total));
    before += last;
    for (const [key, value] of part) weights.set(`${name}.${key}`, value);
  }
  return {
    source,
    unet: unet.config,
    vae: { kind: vae.kind, config: vae.config } as Vae,
    textEncoders,
    scheduler,
    zeroEmptyNegative,
    weights,
  };
}

/** @throws FormatError if widths of one part do not fit another */
function checkFit({ unet, vae, textEncoders }: Pick<Pipeline, 'unet' | 'vae' | 'textEncoders'>, where: string): void {
  const problem = ((): string | null => {
    const latent = vae.config.latent_channels;
    if (unet.in_channels !== latent) {
      return `the U-Net takes ${unet.in_channels} channels, the VAE has ${latent} (inpainting is not supported)`;
    }
    const sdxl = unet.addition_embed_type === 'text_time';
    if (sdxl !== (textEncoders.length === 2)) return `the U-Net does not fit ${textEncoders.length} text encoder(s)`;
    const width = textEncoders.reduce((sum, { config }) => sum + config.hidden_size, 0);
    if (unet.cross_attention_dim !== width) {
      return `the U-Net attends to text states of width ${unet.cross_attention_dim}, the text encoders give ${width}`;
    }
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

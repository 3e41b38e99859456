/** @file A LoRA as a value, whatever dialect it was read from or is written in. */
import { isFloat, toFloat32, type HostTensor } from '../graph/dtype.js';
import { FormatError, shown } from './errors.js';

/** Adds `alpha / r · up · down` to a weight. */
export interface LoraLayer {
  readonly down: HostTensor; // [r, in] or, for a convolution, [r, in, kh, kw]
  readonly up: HostTensor; // [out, r] or [out, r, 1, 1]
  readonly alpha: number;
}

/**
 * Textual-Inversion embeddings that a LoRA brings along: by token, then by the text encoder that each belongs to, one
 * row per vector, [vectors, width].
 */
export type BundledEmbeddings = ReadonlyMap<string, ReadonlyMap<TextComponent, HostTensor>>;

export interface LoraFile {
  /** 'sd1', 'sd2', 'sdxl', or another model's own name. */
  readonly baseModel?: string;
  /**
   * By component and module in our names, e.g. `unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`,
   * `text_encoder.text_model.encoder.layers.0.self_attn.q_proj`, `text_encoder_2.…`.
   */
  readonly layers: ReadonlyMap<string, LoraLayer>;
  /** Free text of the file: training settings (`ss_…`), `modelspec.…`, our own. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Absent where the file has none. */
  readonly embeddings?: BundledEmbeddings;
}

/** As diffusers names them: a model has a U-Net or a transformer. */
export const LORA_COMPONENTS = ['unet', 'transformer', 'text_encoder', 'text_encoder_2'] as const;
export type LoraComponent = (typeof LORA_COMPONENTS)[number];
export type TextComponent = Exclude<LoraComponent, 'unet' | 'transformer'>;

export function rankOf(layer: LoraLayer): number {
  return layer.down.shape[0]!;
}

/** The factor on `up · down`. */
export function scaleOf(layer: LoraLayer): number {
  return layer.alpha / rankOf(layer);
}

const allZero = (t: HostTensor): boolean => toFloat32(t).every((v) => v === 0);

/** False if the LoRA changes no weight at any strength, as one that was never trained: up · down is zero everywhere. */
export function hasEffect({ layers }: Pick<LoraFile, 'layers'>): boolean {
  return [...layers.values()].some((layer) => scaleOf(layer) !== 0 && !allZero(layer.up) && !allZero(layer.down));
}

/** The layers of one component, by module path without the component. */
export function layersOf(lora: LoraFile, component: LoraComponent): Map<string, LoraLayer> {
  const prefix = `${component}.`;
  const inside = [...lora.layers].filter(([module]) => module.startsWith(prefix));
  return new Map(inside.map(([module, layer]) => [module.slice(prefix.length), layer]));
}

/**
 * A FormatError if the matrices of a layer are not of floats or cannot be multiplied, alpha is no number, or the
 * matrices hold NaN or infinity, which would spoil every picture.
 */
export function checkLayer(where: string, module: string, { down, up, alpha }: LoraLayer): void {
  const shapes = [down.shape, up.shape];
  const ranks = shapes.every(({ length }) => length === 2 || length === 4);
  const fit = up.shape[1] === down.shape[0] && shapes.flat().every((n) => n > 0);
  const name = `${where}: layer "${shown(module)}"`;
  if (ranks && fit && isFloat(down.dtype) && isFloat(up.dtype) && Number.isFinite(alpha)) {
    checkFinite(name, 'down', down);
    checkFinite(name, 'up', up);
    return;
  }
  throw new FormatError(name,
    `cannot be applied: down ${down.dtype} [${down.shape.join(', ')}], up ${up.dtype} [${up.shape.join(', ')}], ` +
    `alpha ${alpha}`,
    'The file is damaged or not a LoRA: export it again.');
}

/** @throws FormatError if a tensor of floats holds a number that is none */
export function checkFinite(where: string, part: string, tensor: HostTensor): void {
  const values = toFloat32(tensor);
  let bad = 0;
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) bad++;
  if (bad === 0) return;
  throw new FormatError(where, `holds NaN or infinity (${bad} of the ${values.length} numbers of ${part})`,
    'Its training diverged or the file is damaged: take an earlier checkpoint, or export it again.');
}

/** What metadata says of a base model that nobody knows. */
export const UNKNOWN_BASE = 'unknown';

/** Families by the width of the text states that the cross-attention reads. */
const BY_TEXT_WIDTH = new Map([[768, 'sd1'], [1024, 'sd2'], [2048, 'sdxl']]);

/** What reads the text states. */
const CROSS = /\.attn2\.to_[kv]$/;
/** Modules that only SDXL's U-Net has: deeper transformers, the embedding of sizes, attention in the first block up. */
const SDXL_ONLY = /\.transformer_blocks\.[1-9]|^unet\.(?:add_embedding|up_blocks\.0\.attentions)\./;
/** Modules that SD 1.x and 2.x have and SDXL lacks: a fourth level, attention on the first. */
const NOT_SDXL = /^unet\.(?:(?:down|up)_blocks\.3\.|down_blocks\.0\.attentions\.|up_blocks\.2\.attentions\.)/;

/**
 * The base model that a LoRA was made for. Shapes decide where they can: the width of the text states, or the size of
 * the text encoder. Else the metadata is believed (kohya's `ss_base_model_version`, `ss_v2`; ModelSpec's architecture),
 * and without it the names of the modules, where only one family has them.
 *
 * @param originalNames whether a kohya file names the U-Net's blocks as the original code: sd-scripts does for SDXL only
 */
export function guessBaseModel(
  layers: ReadonlyMap<string, LoraLayer>, metadata: Readonly<Record<string, string>>, originalNames = false,
): string | undefined {
  return familyByShape(layers) ?? familyByMetadata(metadata) ?? familyByNames(layers, originalNames);
}

function familyByShape(layers: ReadonlyMap<string, LoraLayer>): string | undefined {
  for (const [module, { down }] of layers) {
    if (CROSS.test(module)) return BY_TEXT_WIDTH.get(down.shape[1]!);
    if (module.startsWith('text_encoder_2.')) return 'sdxl';
    if (module.startsWith('text_encoder.') && module.endsWith('.q_proj') && down.shape[1] === 1024) return 'sd2';
  }
  return undefined;
}

function familyByMetadata(metadata: Readonly<Record<string, string>>): string | undefined {
  const version = metadata['ss_base_model_version'] ?? metadata['modelspec.architecture']?.replace('/lora', '');
  if (version === undefined || version === UNKNOWN_BASE) return undefined;
  if (/^(sdxl|stable-diffusion-xl)/.test(version)) return 'sdxl';
  if (/^(sd_v2|stable-diffusion-v2)/.test(version) || metadata['ss_v2'] === 'True') return 'sd2';
  return /^(sd_v1|stable-diffusion-v1)/.test(version) ? 'sd1' : version;
}

function familyByNames(layers: ReadonlyMap<string, LoraLayer>, originalNames: boolean): string | undefined {
  const modules = [...layers.keys()];
  // A width of text states that no family has is another model's, whatever its modules are called.
  if (modules.some((module) => CROSS.test(module))) return undefined;
  const older = modules.some((module) => NOT_SDXL.test(module));
  if (!older && (originalNames || modules.some((module) => SDXL_ONLY.test(module)))) return 'sdxl';
  // SD 1.x and 2.x have the same modules; the text encoder of SD 1.x is 768 wide, and SDXL's first one too.
  const narrow = [...layers].some(([module, { down }]) => /^text_encoder\..*\.q_proj$/.test(module) && down.shape[1] === 768);
  return narrow && older ? 'sd1' : undefined;
}

/** @file A LoRA as a value, whatever dialect it was read from or is written in. */
import { isFloat, type HostTensor } from '../graph/dtype.js';
import { FormatError, shown } from './errors.js';

/** Adds `alpha / r · up · down` to a weight. */
export interface LoraLayer {
  readonly down: HostTensor; // [r, in] or, for a convolution, [r, in, kh, kw]
  readonly up: HostTensor; // [out, r] or [out, r, 1, 1]
  readonly alpha: number;
}

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
}

export const LORA_COMPONENTS = ['unet', 'text_encoder', 'text_encoder_2'] as const;
export type LoraComponent = (typeof LORA_COMPONENTS)[number];

export function rankOf(layer: LoraLayer): number {
  return layer.down.shape[0]!;
}

/** The factor on `up · down`. */
export function scaleOf(layer: LoraLayer): number {
  return layer.alpha / rankOf(layer);
}

/** The layers of one component, by module path without the component. */
export function layersOf(lora: LoraFile, component: LoraComponent): Map<string, LoraLayer> {
  const prefix = `${component}.`;
  const inside = [...lora.layers].filter(([module]) => module.startsWith(prefix));
  return new Map(inside.map(([module, layer]) => [module.slice(prefix.length), layer]));
}

/** A FormatError if the matrices of a layer are not of floats or cannot be multiplied, or alpha is no number. */
export function checkLayer(where: string, module: string, { down, up, alpha }: LoraLayer): void {
  const shapes = [down.shape, up.shape];
  const ranks = shapes.every(({ length }) => length === 2 || length === 4);
  const fit = up.shape[1] === down.shape[0] && shapes.flat().every((n) => n > 0);
  if (ranks && fit && isFloat(down.dtype) && isFloat(up.dtype) && Number.isFinite(alpha)) return;
  throw new FormatError(`${where}: layer "${shown(module)}"`,
    `cannot be applied: down ${down.dtype} [${down.shape.join(', ')}], up ${up.dtype} [${up.shape.join(', ')}], ` +
    `alpha ${alpha}`,
    'The file is damaged or not a LoRA: export it again.');
}

/** What metadata says of a base model that nobody knows. */
export const UNKNOWN_BASE = 'unknown';

/** Families by the width of the text states that the cross-attention reads. */
const BY_TEXT_WIDTH = new Map([[768, 'sd1'], [1024, 'sd2'], [2048, 'sdxl']]);

/**
 * The base model that a LoRA was made for. Shapes decide where they can: the width of the text states, or the size of
 * the text encoder. Else the metadata is believed (kohya's `ss_base_model_version`, `ss_v2`; ModelSpec's architecture).
 */
export function guessBaseModel(
  layers: ReadonlyMap<string, LoraLayer>, metadata: Readonly<Record<string, string>>,
): string | undefined {
  for (const [module, { down }] of layers) {
    if (/\.attn2\.to_[kv]$/.test(module)) {
      const family = BY_TEXT_WIDTH.get(down.shape[1]!);
      if (family) return family;
      break; // a model of another width
    }
    if (module.startsWith('text_encoder_2.')) return 'sdxl';
    if (module.startsWith('text_encoder.') && module.endsWith('.q_proj') && down.shape[1] === 1024) return 'sd2';
  }
  const version = metadata['ss_base_model_version'] ?? metadata['modelspec.architecture']?.replace('/lora', '');
  if (version === undefined || version === UNKNOWN_BASE) return undefined;
  if (/^(sdxl|stable-diffusion-xl)/.test(version)) return 'sdxl';
  if (/^(sd_v2|stable-diffusion-v2)/.test(version) || metadata['ss_v2'] === 'True') return 'sd2';
  return /^(sd_v1|stable-diffusion-v1)/.test(version) ? 'sd1' : version;
}

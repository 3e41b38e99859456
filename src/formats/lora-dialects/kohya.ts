/**
 * @file kohya's keys (sd-scripts networks/lora.py), which A1111, ComfyUI and InvokeAI read: the module's path with `_`
 * for `.`, `.lora_down.weight`, `.lora_up.weight` and `.alpha`. Without alpha the scale is 1.
 */
import { host, type HostTensor } from '../../graph/dtype.js';
import { FormatError } from '../errors.js';
import type { LoraFile } from '../lora.js';
import { unetFromLdm, unetToLdm } from '../names/ldm-unet.js';
import { isUnetPath, textPath, type LoraKey } from './collect.js';
import { embeddingTensors } from './embeddings.js';

/** Names that contain `_` themselves: ours, the original code's, and the text encoder's. The longer ones first. */
const COMPOUNDS = [
  'down_blocks', 'up_blocks', 'mid_block', 'transformer_blocks', 'to_q', 'to_k', 'to_v', 'to_out',
  'proj_in', 'proj_out', 'conv_in', 'conv_out', 'conv_shortcut', 'time_embedding', 'time_emb_proj', 'add_embedding',
  'class_embedding', 'linear_1', 'linear_2', 'cond_proj',
  'input_blocks', 'middle_block', 'output_blocks', 'in_layers', 'emb_layers', 'out_layers', 'skip_connection',
  'time_embed', 'label_emb',
  'text_model', 'text_projection', 'self_attn', 'q_proj', 'k_proj', 'v_proj', 'out_proj',
];
const SEGMENT = new RegExp(`(?:${COMPOUNDS.join('|')}|[^_]+)(?=_|$)`, 'g');

const PREFIXES: Readonly<Record<string, string>> = {
  lora_unet: 'unet', lora_te: 'text_encoder', lora_te1: 'text_encoder', lora_te2: 'text_encoder_2',
};

const PARTS = new Map<string, LoraKey['part']>(
  [['lora_down.weight', 'down'], ['lora_up.weight', 'up'], ['alpha', 'alpha']],
);

/** Whether a key is of this dialect. */
export function isKohya(key: string): boolean {
  return /^lora_(unet|te|te1|te2)_/.test(key);
}

/** What a key holds, in our names; undefined if it is not of this dialect. */
export function parseKohya(key: string): LoraKey | undefined {
  const match = /^(lora_unet|lora_te1|lora_te2|lora_te)_([^.]+)\.(.+)$/.exec(key);
  if (!match) return undefined;
  const [, prefix, name, end] = match as unknown as [string, string, string, string];
  const component = PREFIXES[prefix]!;
  const dotted = (name.match(SEGMENT) ?? []).join('.');
  // sd-scripts itself names the blocks of SDXL as the original code does, those of SD 1.x and 2.x as diffusers does.
  const path = component !== 'unet' ? textPath(dotted) : isUnetPath(dotted) ? dotted : unetFromLdm(dotted);
  if (!path) return undefined;
  return { module: `${component}.${path}`, part: PARTS.get(end) ?? 'other' };
}

/** Whether a key names a block of the U-Net as the original code does. */
export function isOriginalName(key: string): boolean {
  return /^lora_unet_(?:input_blocks|middle_block|output_blocks)_/.test(key);
}

/**
 * The tensors of a kohya file. As sd-scripts does, SDXL modules are named by the original code, and the first of two
 * text encoders is `te1`.
 *
 * @param lora with one alpha in each component (`withOneAlpha`)
 * @throws FormatError for a transformer's, which kohya's scripts name by the original code
 */
export function toKohya(lora: LoraFile): Map<string, HostTensor> {
  if ([...lora.layers.keys()].some((module) => module.startsWith('transformer.'))) {
    throw new FormatError('this LoRA', "is a transformer's, whose names in kohya's files are not known", 'Write it in the dialect diffusers or peft.');
  }
  const xl = lora.baseModel === 'sdxl';
  const twoEncoders = xl || [...lora.layers.keys()].some((module) => module.startsWith('text_encoder_2.'));
  const tensors = new Map(embeddingTensors(lora.embeddings));
  for (const [module, { down, up, alpha }] of lora.layers) {
    const dot = module.indexOf('.');
    const component = module.slice(0, dot);
    const path = module.slice(dot + 1);
    const prefix = { unet: 'lora_unet', text_encoder: twoEncoders ? 'lora_te1' : 'lora_te' }[component] ?? 'lora_te2';
    const name = (xl && component === 'unet' ? unetToLdm(path, 'sdxl') : undefined) ?? path;
    const key = `${prefix}_${name.replaceAll('.', '_')}`;
    tensors.set(`${key}.lora_down.weight`, down);
    tensors.set(`${key}.lora_up.weight`, up);
    tensors.set(`${key}.alpha`, host(Float32Array.of(alpha), []));
  }
  return tensors;
}

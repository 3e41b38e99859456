/** @file Single-file checkpoints with the original (LDM) names: what they are, and their components by our names. */
import { FormatError } from '../errors.js';
import type { WeightSource } from '../weights.js';
import { textFromClip, textFromOpenClip } from './ldm-text.js';
import { unetFromLdm, type Family } from './ldm-unet.js';
import { vaeFromLdm } from './ldm-vae.js';
import { renamedSource, type Target } from './renamed-source.js';

export type Component = 'unet' | 'vae' | 'text_encoder' | 'text_encoder_2';

export interface SingleFile {
  readonly family: Family;
  /** Channels of the U-Net's input: 4, or 9 for an inpainting model. */
  readonly inChannels: number;
  /** What the network predicts, where the file tells: by ModelSpec's metadata, or by the marks of SDXL's v-models. */
  readonly prediction?: 'epsilon' | 'v_prediction';
  /** The noise schedule ends without signal, as another mark of those tells. */
  readonly zeroTerminalSnr: boolean;
}

/** Values of `modelspec.prediction_type`. */
const PREDICTIONS = new Map([['epsilon', 'epsilon'], ['v', 'v_prediction']] as const);

const UNET = 'model.diffusion_model.';

/** Families by the width of the text states that the U-Net attends to. */
const FAMILIES = new Map<number, Family>([[768, 'sd1'], [1024, 'sd2'], [2048, 'sdxl']]);

/** OpenCLIP-H has 24 layers; SD 2.x takes the output of the last but one. */
const SD2_TEXT_LAYERS = 23;

/** Recognises a checkpoint by its names and shapes; a FormatError if it is not one of the families. */
export function detectSingleFile(source: WeightSource): SingleFile {
  const { where, tensors, metadata } = source;
  const remedy = 'Single files of SD 1.x, SD 2.x and SDXL base with the original names are supported, those of other ' +
    'sizes with --like, and folders in diffusers layout.';
  const input = tensors.get(`${UNET}input_blocks.0.0.weight`);
  if (!input) throw new FormatError(where, `has no tensor "${UNET}input_blocks.0.0.weight"`, remedy);
  let width: number | undefined;
  for (const [name, { shape }] of tensors) {
    if (name.startsWith(UNET) && name.endsWith('.attn2.to_k.weight')) width = shape[1];
  }
  const family = FAMILIES.get(width ?? 0);
  if (!family) throw new FormatError(where, `attends to text states of width ${width ?? 'unknown'}`, remedy);
  const prediction = tensors.has('v_pred')
    ? 'v_prediction'
    : PREDICTIONS.get(metadata['modelspec.prediction_type'] as 'epsilon' | 'v');
  const inChannels = input.shape[1] ?? 0;
  return { family, inChannels, ...(prediction && { prediction }), zeroTerminalSnr: tensors.has('ztsnr') };
}

/** What of ours is made from a tensor of the checkpoint. */
export interface LdmTarget extends Target {
  readonly component: Component;
}

/** Our tensors behind a checkpoint's. Empty for what is not a weight of a component (schedules, EMA copies, …). */
export function fromLdm(family: Family, key: string): LdmTarget[] {
  const after = (prefix: string) => (key.startsWith(prefix) ? key.slice(prefix.length) : undefined);
  const named = (component: Component, name: string | undefined): LdmTarget[] => (name ? [{ component, name }] : []);
  let path = after(UNET);
  if (path !== undefined) return named('unet', unetFromLdm(path));
  path = after('first_stage_model.');
  if (path !== undefined) return vaeFromLdm(path).map((target) => ({ component: 'vae', ...target }));
  path = after(family === 'sdxl' ? 'conditioner.embedders.0.transformer.' : 'cond_stage_model.transformer.');
  if (path !== undefined) return family === 'sd2' ? [] : named('text_encoder', textFromClip(path));
  path = after(family === 'sdxl' ? 'conditioner.embedders.1.model.' : 'cond_stage_model.model.');
  if (path === undefined || family === 'sd1') return [];
  const component = family === 'sdxl' ? 'text_encoder_2' : 'text_encoder';
  return textFromOpenClip(path, family === 'sdxl' ? Infinity : SD2_TEXT_LAYERS).map((t) => ({ component, ...t }));
}

/** One component of a checkpoint, by our names and in our shapes. Closing it is left to the owner of `source`. */
export function singleFileComponent(source: WeightSource, family: Family, component: Component): WeightSource {
  const part = renamedSource(source, (key) => fromLdm(family, key).filter((target) => target.component === component));
  if (part.tensors.size > 0) return { ...part, close: async () => {} };
  throw new FormatError(source.where, `holds no ${component}`, 'It is part of a checkpoint only: use the whole.');
}

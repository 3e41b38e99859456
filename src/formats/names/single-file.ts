/** @file Single-file checkpoints with the original (LDM) names: what they are, and their components by our names. */
import { FormatError } from '../errors.js';
import type { WeightSource } from '../weights.js';
import { textFromClip, textFromOpenClip } from './ldm-text.js';
import { unetFromLdm, type Family } from './ldm-unet.js';

export type { Family } from './ldm-unet.js';
import { vaeFromLdm } from './ldm-vae.js';
import { renamedSource, type Target } from './renamed-source.js';

export type SingleFilePart = 'unet' | 'vae' | 'text_encoder' | 'text_encoder_2';

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

/**
 * Marks of models that are built as SDXL is but trained otherwise (Karras et al. 2022, arXiv 2206.00364): their noise
 * levels, their scaling of input and output and, for the first, the statistics of their latents are others.
 */
const EDM = [
  { mark: /^edm_(mean|std)$/, model: 'Playground v2.5' },
  { mark: /^edm_vpred\./, model: 'CosXL' },
] as const;

/** @throws FormatError for a model that its names and shapes alone would take for SDXL */
export function refuseEdm({ where, tensors }: WeightSource): void {
  for (const { mark, model } of EDM) {
    const key = [...tensors.keys()].find((name) => mark.test(name));
    if (key === undefined) continue;
    throw new FormatError(where, `is an EDM model as ${model} is, by its tensor "${key}": it has the shapes of SDXL, ` +
      'but other noise levels and scales', 'These are not supported; use SDXL base or a model made from it.');
  }
}

/** Recognises a checkpoint by its names and shapes; a FormatError if it is not one of the families. */
export function detectSingleFile(source: WeightSource): SingleFile {
  const { where, tensors, metadata } = source;
  refuseEdm(source);
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

/** A bias by which ComfyUI tells SD 2.x models that predict v: there it is spread wider than this. */
const TELLING = { key: `${UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias`, deviation: 0.09 };

/**
 * What an SD 2.x file predicts that does not say so: 2.0-base and 2.1-base the noise, the models for 768 pixels v.
 * @returns the guess, and what it was guessed from
 */
export async function guessPrediction(
  source: WeightSource, inChannels: number,
): Promise<{ prediction: 'epsilon' | 'v_prediction'; reason: string }> {
  if (inChannels !== 4) return { prediction: 'epsilon', reason: 'it is no plain text-to-image model' };
  if (source.metadata['global_step'] === '875000') {
    return { prediction: 'epsilon', reason: 'it was trained for 875000 steps, as SD 2.0 base was' };
  }
  if (!source.tensors.has(TELLING.key)) {
    return { prediction: 'v_prediction', reason: 'nothing in it tells, and SD 2.1 does so' };
  }
  const values = Array.from((await source.read(TELLING.key, 'float32')).data as Float32Array);
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
  return {
    prediction: deviation > TELLING.deviation ? 'v_prediction' : 'epsilon',
    reason: `a bias in its last block is spread by ${deviation.toFixed(3)} (above ${TELLING.deviation} means v, below the noise)`,
  };
}

/** What of ours is made from a tensor of the checkpoint. */
export interface LdmTarget extends Target {
  readonly component: SingleFilePart;
}

/** Our tensors behind a checkpoint's. Empty for what is not a weight of a component (schedules, EMA copies, …). */
export function fromLdm(family: Family, key: string): LdmTarget[] {
  const after = (prefix: string) => (key.startsWith(prefix) ? key.slice(prefix.length) : undefined);
  const named = (component: SingleFilePart, name: string | undefined): LdmTarget[] => (name ? [{ component, name }] : []);
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
export function singleFileComponent(source: WeightSource, family: Family, component: SingleFilePart): WeightSource {
  const part = renamedSource(source, (key) => fromLdm(family, key).filter((target) => target.component === component));
  if (part.tensors.size > 0) return { ...part, close: async () => {} };
  throw new FormatError(source.where, `holds no ${component}`, component === 'vae'
    ? 'Name one with --vae: a folder, file or hub id, such as stabilityai/sd-vae-ft-mse for SD 1.x and 2.x, or ' +
      'madebyollin/sdxl-vae-fp16-fix for SDXL.'
    : 'It is part of a checkpoint only: use the whole.');
}

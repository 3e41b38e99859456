/** @file Single-file checkpoints with the original (LDM) names: what they are, and their components by our names. */
import { arrayType, sizeOf, type HostTensor, type Shape } from '../../graph/dtype.js';
import { FormatError } from '../errors.js';
import { tensorInfo, type TensorInfo, type WeightSource } from '../weights.js';
import { textFromClip, textFromOpenClip, type TextTarget } from './ldm-text.js';
import { unetFromLdm, type Family } from './ldm-unet.js';
import { isVaeAttentionWeight, vaeFromLdm } from './ldm-vae.js';

export type Component = 'unet' | 'vae' | 'text_encoder' | 'text_encoder_2';

export interface SingleFile {
  readonly family: Family;
  /** Channels of the U-Net's input: 4, or 9 for an inpainting model. */
  readonly inChannels: number;
}

const UNET = 'model.diffusion_model.';

/** Families by the width of the text states that the U-Net attends to. */
const FAMILIES = new Map<number, Family>([[768, 'sd1'], [1024, 'sd2'], [2048, 'sdxl']]);

/** OpenCLIP-H has 24 layers; SD 2.x takes the output of the last but one. */
const SD2_TEXT_LAYERS = 23;

/** Recognises a checkpoint by its names and shapes; a FormatError if it is not one of the families. */
export function detectSingleFile(source: WeightSource): SingleFile {
  const { where, tensors } = source;
  const remedy = 'Single files of SD 1.x, SD 2.x and SDXL base with the original names are supported, ' +
    'and folders in diffusers layout.';
  const input = tensors.get(`${UNET}input_blocks.0.0.weight`);
  if (!input) throw new FormatError(where, `has no tensor "${UNET}input_blocks.0.0.weight"`, remedy);
  let width: number | undefined;
  for (const [name, { shape }] of tensors) {
    if (name.startsWith(UNET) && name.endsWith('.attn2.to_k.weight')) width = shape[1];
  }
  const family = FAMILIES.get(width ?? 0);
  if (!family) throw new FormatError(where, `attends to text states of width ${width ?? 'unknown'}`, remedy);
  return { family, inChannels: input.shape[1] ?? 0 };
}

/** What of ours is made from a tensor of the checkpoint, and how. */
export interface LdmTarget extends TextTarget {
  readonly component: Component;
  /** The tensor may be a 1x1 convolution [O, I, 1, 1], ours is the matrix [O, I]. */
  readonly matrix?: boolean;
}

/** Our tensors behind a checkpoint's. Empty for what is not a weight of a component (schedules, EMA copies, …). */
export function fromLdm(family: Family, key: string): LdmTarget[] {
  const after = (prefix: string) => (key.startsWith(prefix) ? key.slice(prefix.length) : undefined);
  const named = (component: Component, name: string | undefined): LdmTarget[] => (name ? [{ component, name }] : []);
  let path = after(UNET);
  if (path !== undefined) return named('unet', unetFromLdm(path));
  path = after('first_stage_model.');
  if (path !== undefined) {
    return named('vae', vaeFromLdm(path)).map((t) => (isVaeAttentionWeight(t.name) ? { ...t, matrix: true } : t));
  }
  path = after(family === 'sdxl' ? 'conditioner.embedders.0.transformer.' : 'cond_stage_model.transformer.');
  if (path !== undefined) return family === 'sd2' ? [] : named('text_encoder', textFromClip(path));
  path = after(family === 'sdxl' ? 'conditioner.embedders.1.model.' : 'cond_stage_model.model.');
  if (path === undefined || family === 'sd1') return [];
  const component = family === 'sdxl' ? 'text_encoder_2' : 'text_encoder';
  return textFromOpenClip(path, family === 'sdxl' ? Infinity : SD2_TEXT_LAYERS).map((t) => ({ component, ...t }));
}

/** One component of a checkpoint, by our names and in our shapes. Closing it is left to the owner of `source`. */
export function singleFileComponent(source: WeightSource, family: Family, component: Component): WeightSource {
  const { where } = source;
  const origins = new Map<string, TensorInfo & { key: string; target: LdmTarget }>();
  for (const [key, info] of source.tensors) {
    for (const target of fromLdm(family, key)) {
      if (target.component !== component) continue;
      const { dtype, shape } = info;
      if ((target.third !== undefined && !(shape[0]! % 3 === 0)) || (target.transposed && shape.length !== 2)) {
        throw new FormatError(`${where}: tensor "${key}"`, `has the shape [${shape.join(', ')}], which does not fit ` +
          'its name', 'The file is damaged: download it again.');
      }
      origins.set(target.name, { dtype, shape: targetShape(shape, target), key, target });
    }
  }
  if (origins.size === 0) {
    throw new FormatError(where, `holds no ${component}`, 'It is a part of a checkpoint only: use the complete file.');
  }
  return {
    where,
    metadata: source.metadata,
    tensors: origins,
    async read(name, as) {
      const { key, target } = tensorInfo(where, origins, name);
      return cut(await source.read(key, as), target);
    },
    close: async () => {},
  };
}

function targetShape(shape: Shape, { third, transposed, matrix }: LdmTarget): Shape {
  if (third !== undefined) return [shape[0]! / 3, ...shape.slice(1)];
  if (transposed) return shape.toReversed();
  return matrix && shape.length === 4 && shape[2] === 1 && shape[3] === 1 ? shape.slice(0, 2) : shape;
}

/** The part of a tensor that `target` asks for, copied unless it is the whole. */
function cut(tensor: HostTensor, target: LdmTarget): HostTensor {
  const shape = targetShape(tensor.shape, target);
  const { data, dtype } = tensor;
  if (target.third !== undefined) {
    const size = sizeOf(shape);
    return { dtype, shape, data: data.slice(target.third * size, (target.third + 1) * size) };
  }
  if (!target.transposed) return { dtype, shape, data };
  const [rows, columns] = shape as [number, number];
  const out = new (arrayType(dtype))(data.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[r * columns + c] = data[c * rows + r]!;
  return { dtype, shape, data: out };
}

/**
 * @file The file `pytorch_lora_weights.safetensors` of diffusers, with PEFT's names for the matrices and the settings
 * in its metadata (since 0.34, loaders/lora_base.py), or with the older names and no settings.
 */
import type { HostTensor } from '../../graph/dtype.js';
import { parseObject } from '../json.js';
import { LORA_COMPONENTS, layersOf, type LoraFile } from '../lora.js';
import { alphaFromConfig, configOf, sortedJson } from './peft-config.js';

const SETTINGS = 'lora_adapter_metadata';

/**
 * Alpha of layers by the metadata of a file: 1 · rank where it says nothing, which is what diffusers assumes.
 * Settings are prefixed by component; files of a single model (`save_lora_adapter`) have them without.
 */
export function diffusersAlpha(
  metadata: Readonly<Record<string, string>>, where: string,
): (module: string, rank: number) => number {
  const text = metadata[SETTINGS];
  if (text === undefined) return (_, rank) => rank;
  const name = `${where} (${SETTINGS})`;
  const settings = Object.entries(parseObject(text, name));
  const configs = new Map<string, Record<string, unknown>>();
  for (const component of LORA_COMPONENTS) {
    const own = settings.filter(([key]) => key.startsWith(`${component}.`));
    if (own.length > 0) {
      configs.set(component, Object.fromEntries(own.map(([key, value]) => [key.slice(component.length + 1), value])));
    }
  }
  if (configs.size === 0 && settings.length > 0) configs.set('unet', Object.fromEntries(settings));
  return (module, rank) => {
    const dot = module.indexOf('.');
    const config = configs.get(module.slice(0, dot));
    return config ? alphaFromConfig(config, module.slice(dot + 1), rank, name) : rank;
  };
}

interface Written {
  readonly tensors: Map<string, HostTensor>;
  readonly metadata: Record<string, string>;
}

/**
 * The tensors and settings of a file as diffusers writes them now. diffusers before 0.34, ComfyUI and A1111 do not read
 * the settings, and diffusers refuses alpha keys beside such names: the scale must be in the matrices. A text encoder's
 * matrices have `text_model.` in their keys, which older versions and ComfyUI need and diffusers with transformers 5
 * takes away; the settings have it not, as PEFT looks only at the ends of names.
 *
 * @param lora with scale 1 and one rank in each component (`withoutScale`)
 * @param targets `target_modules` by component, see `configOf`
 */
export function toDiffusers(lora: LoraFile, targets: Readonly<Record<string, readonly string[]>> = {}): Written {
  const tensors = new Map<string, HostTensor>();
  for (const [module, { down, up }] of lora.layers) {
    tensors.set(`${module}.lora_A.weight`, down);
    tensors.set(`${module}.lora_B.weight`, up);
  }
  const settings: Record<string, unknown> = {};
  for (const component of LORA_COMPONENTS) {
    const layers = layersOf(lora, component);
    if (layers.size === 0) continue;
    for (const [key, value] of Object.entries(configOf(layers, targets[component]))) {
      settings[`${component}.${key}`] = value;
    }
  }
  return { tensors, metadata: { format: 'pt', [SETTINGS]: sortedJson(settings) } };
}

/** The tensors of a file of the older kind, which has no place for alpha. @param lora as for `toDiffusers` */
export function toOldDiffusers(lora: LoraFile): Written {
  const tensors = new Map<string, HostTensor>();
  for (const [module, { down, up }] of lora.layers) {
    const infix = /^(unet|transformer)\./.test(module) ? 'lora' : 'lora_linear_layer';
    tensors.set(`${module}.${infix}.down.weight`, down);
    tensors.set(`${module}.${infix}.up.weight`, up);
  }
  return { tensors, metadata: { format: 'pt' } };
}

/**
 * @file The file `pytorch_lora_weights.safetensors` of diffusers, with PEFT's names for the matrices and the settings
 * in its metadata (since 0.34, loaders/lora_base.py), or with the older names and no settings.
 */
import { fromFloat32, toFloat32, type HostTensor } from '../../graph/dtype.js';
import { parseObject } from '../json.js';
import { LORA_COMPONENTS, layersOf, rankOf, scaleOf, type LoraFile, type LoraLayer } from '../lora.js';
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
 * The tensors and settings of a file as diffusers writes them now.
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

/** The tensors of a file of the older kind. It has no place for alpha: a scale other than 1 is multiplied into `up`. */
export function toOldDiffusers(lora: LoraFile): Written {
  const tensors = new Map<string, HostTensor>();
  for (const [module, layer] of lora.layers) {
    const infix = module.startsWith('unet.') ? 'lora' : 'lora_linear_layer';
    tensors.set(`${module}.${infix}.down.weight`, layer.down);
    tensors.set(`${module}.${infix}.up.weight`, scaledUp(layer));
  }
  return { tensors, metadata: { format: 'pt' } };
}

function scaledUp(layer: LoraLayer): HostTensor {
  const { up } = layer;
  if (layer.alpha === rankOf(layer)) return up;
  const scale = scaleOf(layer);
  const dtype = up.dtype === 'float16' || up.dtype === 'bfloat16' ? up.dtype : 'float32';
  return fromFloat32(toFloat32(up).map((value) => value * scale), up.shape, dtype);
}

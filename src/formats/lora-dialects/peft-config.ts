/** @file PEFT's LoraConfig as JSON: `adapter_config.json`, and with prefixes diffusers' `lora_adapter_metadata`. */
import { FormatError, shown } from '../errors.js';
import { isObject } from '../json.js';
import { rankOf, type LoraLayer } from '../lora.js';
import { mostCommon } from './fold.js';

/** LoraConfig's own default, for a file that leaves it out. */
const DEFAULT_ALPHA = 8;

/**
 * Alpha of a layer under a config, such that its scale is alpha / rank. With `use_rslora` PEFT scales by
 * lora_alpha / √rank instead.
 * @param path module path without component
 */
export function alphaFromConfig(
  config: Readonly<Record<string, unknown>>, path: string, rank: number, where: string,
): number {
  const { alpha_pattern: pattern, lora_alpha: general = DEFAULT_ALPHA, use_rslora: rslora } = config;
  let alpha = general;
  for (const [key, value] of Object.entries(isObject(pattern) ? pattern : {})) {
    // PEFT takes the keys for regular expressions. Those of a file are not run: only plain names are matched.
    const name = key.replace(/^\^/, '').replaceAll('\\.', '.');
    if (!/^[\w.]+$/.test(name)) {
      throw new FormatError(where, `has the pattern "${shown(key)}" in alpha_pattern, which is not evaluated`,
        'Write the names of the modules out.');
    }
    if (path !== name && !path.endsWith(`.${name}`)) continue;
    alpha = value;
    break;
  }
  if (typeof alpha !== 'number') throw new FormatError(where, 'has an alpha that is no number', 'Export it again.');
  return rslora === true ? alpha * Math.sqrt(rank) : alpha;
}

/** The fields that a LoraConfig without extras holds (as of PEFT 0.15, the least that reads such metadata). */
const PLAIN_CONFIG = {
  auto_mapping: null, base_model_name_or_path: null, bias: 'none', corda_config: null, eva_config: null,
  exclude_modules: null, fan_in_fan_out: false, inference_mode: false, init_lora_weights: true,
  layer_replication: null, layers_pattern: null, layers_to_transform: null, loftq_config: {}, lora_bias: false,
  lora_dropout: 0, megatron_config: null, megatron_core: 'megatron.core', modules_to_save: null, peft_type: 'LORA',
  revision: null, task_type: null, trainable_token_indices: null, use_dora: false, use_rslora: false,
};

/**
 * The config that describes layers: their most common rank and alpha, and the exceptions by name. Names are without
 * `text_model.`: PEFT looks for modules that end in them, so that they hold for CLIPTextModel of transformers before 5,
 * which has it, and after, which has not.
 * @param layers of one component, by module path without it
 * @param targets the pattern that chose the modules, as PEFT's `target_modules`; default: every module's full name
 */
export function configOf(layers: ReadonlyMap<string, LoraLayer>, targets?: readonly string[]): Record<string, unknown> {
  const all = [...layers].map(([path, layer]) => [withoutTextModel(path), layer] as const);
  const r = mostCommon(all.map(([, layer]) => rankOf(layer)));
  const alpha = mostCommon(all.map(([, layer]) => layer.alpha));
  return {
    ...PLAIN_CONFIG,
    r,
    lora_alpha: alpha,
    rank_pattern: Object.fromEntries(all.filter(([, l]) => rankOf(l) !== r).map(([path, l]) => [path, rankOf(l)])),
    alpha_pattern: Object.fromEntries(all.filter(([, l]) => l.alpha !== alpha).map(([path, l]) => [path, l.alpha])),
    target_modules: [...(targets ?? all.map(([path]) => path))].sort(),
  };
}

/** A module's path as CLIPTextModel has it since transformers 5. */
export const withoutTextModel = (path: string): string => path.replace(/^text_model\./, '');

/** JSON as Python's `json.dumps(…, indent=2, sort_keys=True)` lays it out. */
export function sortedJson(object: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1))), null, 2);
}

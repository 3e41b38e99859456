/** @file PEFT's adapter folders: `adapter_config.json` beside `adapter_model.safetensors`, one folder per model. */
import { join } from 'node:path';
import type { HostTensor } from '../../graph/dtype.js';
import { FormatError, shown } from '../errors.js';
import { readJsonFile } from '../json-file.js';
import type { LoraComponent, LoraLayer } from '../lora.js';
import { alphaFromConfig, configOf, sortedJson, withoutTextModel } from './peft-config.js';

export const PEFT_CONFIG = 'adapter_config.json';
export const PEFT_WEIGHTS = 'adapter_model.safetensors';
/** What PEFT writes with `safe_serialization=False`, and wrote before 0.6. */

/** Alpha of layers by the config in a folder. */
export async function peftAlpha(folder: string): Promise<(module: string, rank: number) => number> {
  const path = join(folder, PEFT_CONFIG);
  const config = await readJsonFile(path);
  if (config.peft_type !== 'LORA') {
    throw new FormatError(path, `describes an adapter of the kind "${shown(String(config.peft_type))}"`,
      'Only LoRA adapters can be used.');
  }
  return (module, rank) => alphaFromConfig(config, module.slice(module.indexOf('.') + 1), rank, path);
}

/**
 * The config's text and the tensors of an adapter for one model. PEFT passes silently over keys that no module has, and
 * a CLIPTextModel, which `text_encoder` is, has lost `text_model.` with transformers 5: its layers are there under both
 * names. `text_encoder_2` is a CLIPTextModelWithProjection and has kept it.
 * @param component which model
 * @param layers by module path without component
 * @param baseModel name or path of the model, for `base_model_name_or_path`
 */
export function toPeft(
  component: LoraComponent, layers: ReadonlyMap<string, LoraLayer>, baseModel?: string, targets?: readonly string[],
): { config: string; tensors: Map<string, HostTensor> } {
  const tensors = new Map<string, HostTensor>();
  for (const [path, { down, up }] of layers) {
    for (const name of new Set([path, component === 'text_encoder' ? withoutTextModel(path) : path])) {
      tensors.set(`base_model.model.${name}.lora_A.weight`, down);
      tensors.set(`base_model.model.${name}.lora_B.weight`, up);
    }
  }
  const config = {
    ...configOf(layers, targets), base_model_name_or_path: baseModel ?? null, inference_mode: true,
  };
  return { config: `${sortedJson(config)}\n`, tensors };
}

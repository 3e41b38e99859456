/** @file PEFT's adapter folders: `adapter_config.json` beside `adapter_model.safetensors`, one folder per model. */
import { join } from 'node:path';
import type { HostTensor } from '../../graph/dtype.js';
import { FormatError, shown } from '../errors.js';
import { readJsonFile } from '../json.js';
import type { LoraLayer } from '../lora.js';
import { alphaFromConfig, configOf, sortedJson } from './peft-config.js';

export const PEFT_CONFIG = 'adapter_config.json';
export const PEFT_WEIGHTS = 'adapter_model.safetensors';

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
 * The config's text and the tensors of an adapter for one model.
 * @param layers by module path without component
 * @param baseModel name or path of the model, for `base_model_name_or_path`
 */
export function toPeft(
  layers: ReadonlyMap<string, LoraLayer>, baseModel?: string, targets?: readonly string[],
): { config: string; tensors: Map<string, HostTensor> } {
  const tensors = new Map<string, HostTensor>();
  for (const [path, { down, up }] of layers) {
    tensors.set(`base_model.model.${path}.lora_A.weight`, down);
    tensors.set(`base_model.model.${path}.lora_B.weight`, up);
  }
  const config = {
    ...configOf(layers, targets), base_model_name_or_path: baseModel ?? null, inference_mode: true,
  };
  return { config: `${sortedJson(config)}\n`, tensors };
}

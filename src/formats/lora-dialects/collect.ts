/** @file From a file's keys to layers: what every dialect's reader shares. */
import { toFloat32, type HostTensor } from '../../graph/dtype.js';
import { tensorBytes } from '../safetensors.js';
import { checkLayer, rankOf, type LoraLayer } from '../lora.js';
import type { WeightSource } from '../weights.js';
import { isEmbeddingKey } from './embeddings.js';

/** What a key holds. 'other' is a part that changes the layer's meaning in a way not supported (DoRA, LoCon's mid). */
export interface LoraKey {
  readonly module: string;
  readonly part: 'down' | 'up' | 'alpha' | 'other';
}

export interface Collected {
  readonly layers: Map<string, LoraLayer>;
  /** Keys that are not understood or occur twice with other numbers, and all those of a layer that has such a part. */
  readonly unknown: string[];
  /** Parts that a layer lacks, as `module: part`. Such layers are left out. */
  readonly missing: string[];
}

/**
 * Reads all layers; embeddings are not of them (`readEmbeddings`).
 * @param parse what a key of this dialect means; undefined if it means nothing
 * @param alphaOf alpha of a layer that brings none of its own
 */
export async function collectLayers(
  source: WeightSource,
  parse: (key: string) => LoraKey | undefined,
  alphaOf: (module: string, rank: number) => number,
): Promise<Collected> {
  const unknown: string[] = [];
  const spoiled = new Set<string>(); // modules with a part that is not supported
  const modules = new Map<string, Map<LoraKey['part'], string>>();
  for (const key of source.tensors.keys()) {
    if (isEmbeddingKey(key)) continue;
    const parsed = parse(key);
    const parts = parsed && (modules.get(parsed.module) ?? new Map<LoraKey['part'], string>());
    const before = parsed && parts?.get(parsed.part);
    if (parts && parsed.part !== 'other' && before === undefined) {
      modules.set(parsed.module, parts.set(parsed.part, key));
    } else if (before === undefined || !(await same(source, before, key))) {
      unknown.push(key);
      if (parsed) spoiled.add(parsed.module);
    }
  }
  const layers = new Map<string, LoraLayer>();
  const missing: string[] = [];
  for (const [module, parts] of modules) {
    const [down, up, alpha] = [parts.get('down'), parts.get('up'), parts.get('alpha')];
    if (spoiled.has(module)) unknown.push(...parts.values());
    else if (!down || !up) missing.push(`${module}: ${[!down && 'down', !up && 'up'].filter(Boolean).join(' and ')}`);
    else {
      const matrices = { down: await source.read(down), up: await source.read(up), alpha: 0 };
      const layer: LoraLayer = {
        ...matrices,
        alpha: alpha ? scalar(await source.read(alpha)) : alphaOf(module, rankOf(matrices)),
      };
      checkLayer(source.where, module, layer);
      layers.set(module, layer);
    }
  }
  return { layers, unknown, missing };
}

/** Whether two keys hold the same: a text encoder's layer may be there under both of its spellings. */
async function same(source: WeightSource, a: string, b: string): Promise<boolean> {
  const [one, two] = [await source.read(a), await source.read(b)];
  return one.dtype === two.dtype && one.shape.join() === two.shape.join() &&
    Buffer.compare(tensorBytes(one), tensorBytes(two)) === 0;
}

/** The only value of a tensor; NaN, which `checkLayer` reports, if it has more or none. */
function scalar(tensor: HostTensor): number {
  const values = toFloat32(tensor);
  return values.length === 1 ? values[0]! : NaN;
}

const UNET_ROOT = /^(?:(?:down|up)_blocks|mid_block|conv_in|conv_out|(?:time|add|class)_embedding)(?:\.|$)/;

/** Whether a module path, without component, begins as those of our U-Nets do. */
export function isUnetPath(path: string): boolean {
  return UNET_ROOT.test(path);
}

/**
 * A text encoder's module path, without component, in our names; undefined if it is none. Since transformers 5 a
 * CLIPTextModel has its layers at the root, where all before it, and CLIPTextModelWithProjection still, have them below
 * `text_model`.
 */
export function textPath(path: string): string | undefined {
  if (/^text_(?:model|projection)(?:\.|$)/.test(path)) return path;
  return path.startsWith('encoder.layers.') ? `text_model.${path}` : undefined;
}

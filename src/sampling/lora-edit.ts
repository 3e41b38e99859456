/** @file LoRAs made of LoRAs: stored in another number format, scaled, several joined into one. */
import { FormatError, shown } from '../formats/errors.js';
import { rankOf, scaleOf } from '../formats/lora.js';
import type { BundledEmbeddings, LoraFile, LoraLayer } from '../formats/lora.js';
import { fromFloat32, host, sizeOf, toFloat32 } from '../graph/dtype.js';
import type { HostTensor, Shape, StoredType } from '../graph/dtype.js';
import type { LoraUse } from './lora-apply.js';

const mapLayers = (lora: LoraFile, change: (layer: LoraLayer) => LoraLayer): LoraFile =>
  ({ ...lora, layers: new Map([...lora.layers].map(([path, layer]) => [path, change(layer)])) });

const stored = (t: HostTensor, dtype: StoredType): HostTensor =>
  (t.dtype === dtype ? t : fromFloat32(toFloat32(t), t.shape, dtype));

/** How the numbers of a tensor can be stored: as they are, but double precision as single. */
const storedType = ({ dtype }: HostTensor): StoredType =>
  (dtype === 'float16' || dtype === 'bfloat16' ? dtype : 'float32');

/** The same LoRA with its matrices in another number format. */
export const loraAs = (lora: LoraFile, dtype: StoredType): LoraFile =>
  mapLayers(lora, ({ down, up, alpha }) => ({ down: stored(down, dtype), up: stored(up, dtype), alpha }));

/** A LoRA with `factor` times the effect. Alpha stays, because not every program reads it; `up` is multiplied. */
export const scaledLora = (lora: LoraFile, factor: number): LoraFile => mapLayers(lora, (layer) => ({
  ...layer,
  up: fromFloat32(toFloat32(layer.up).map((v) => v * factor), layer.up.shape, storedType(layer.up)),
}));

/**
 * One LoRA with the effect of several: its rank is the sum of theirs, down and up are theirs side by side, float32.
 *
 * @throws FormatError if they are for different models
 */
export function joinLoras(uses: readonly LoraUse[]): LoraFile {
  const families = new Map(uses.flatMap(({ lora: { baseModel }, where }) =>
    (baseModel === undefined ? [] : [[baseModel, where] as const])));
  if (families.size > 1) {
    const list = [...families].map(([family, where]) => `${where} for ${shown(family)}`).join(', ');
    throw new FormatError('these LoRAs', `are for different models: ${list}`, 'Join LoRAs of one model.');
  }
  const [baseModel] = families.keys();
  const paths = new Set(uses.flatMap(({ lora }) => [...lora.layers.keys()]));
  const layers = new Map([...paths].map((path) => [path, joinLayers(path, uses)]));
  const parts = uses.map(({ where, strength }) => `${where} x ${strength}`).join(', ');
  const metadata = { 'modelspec.description': `Joined from ${parts}` };
  const embeddings = joinEmbeddings(uses);
  return { layers, metadata, ...(baseModel !== undefined && { baseModel }), ...(embeddings && { embeddings }) };
}

/** The embeddings of all, which have no strength. */
function joinEmbeddings(uses: readonly LoraUse[]): BundledEmbeddings | undefined {
  const joined = new Map(uses.flatMap(({ lora }) => [...lora.embeddings ?? []]));
  const count = uses.reduce((n, { lora }) => n + (lora.embeddings?.size ?? 0), 0);
  if (count > joined.size) {
    throw new FormatError('these LoRAs', 'bring embeddings of the same name along', 'Apply them one beside the other.');
  }
  return joined.size > 0 ? joined : undefined;
}

function joinLayers(path: string, uses: readonly LoraUse[]): LoraLayer {
  const parts = uses.flatMap(({ lora, strength, where }) => {
    const layer = lora.layers.get(path);
    return layer ? [{ layer, where, strength: strength * scaleOf(layer) }] : [];
  });
  const { down, up } = parts[0]!.layer;
  const tail = (shape: Shape): string => shape.slice(1).join();
  for (const { layer, where } of parts) {
    if (tail(layer.down.shape) === tail(down.shape) && layer.up.shape[0] === up.shape[0]) continue;
    const problem = `has another size than in ${parts[0]!.where}`;
    throw new FormatError(`${where}: layer "${shown(path)}"`, problem, 'Join LoRAs of one model.');
  }
  const rank = parts.reduce((r, { layer }) => r + rankOf(layer), 0);
  const downs = new Float32Array(rank * sizeOf(down.shape.slice(1))); // [R, in, …]: one below the other
  const ups = new Float32Array(up.shape[0]! * rank); // [out, R, …]: one beside the other
  let from = 0;
  for (const { layer, strength } of parts) {
    const r = rankOf(layer);
    downs.set(toFloat32(layer.down), from * sizeOf(down.shape.slice(1)));
    toFloat32(layer.up).forEach((v, i) => (ups[Math.floor(i / r) * rank + from + (i % r)] = v * strength));
    from += r;
  }
  return {
    down: host(downs, [rank, ...down.shape.slice(1)]),
    up: host(ups, [up.shape[0]!, rank, ...up.shape.slice(2)]),
    alpha: rank,
  };
}

/**
 * @file The scale of layers moved into their matrices, so that programs which read alpha wrongly or not at all apply a
 * LoRA with the strength that it has.
 */
import { arrayType, fromFloat32, sizeOf, toFloat32, type HostTensor } from '../../graph/dtype.js';
import { LORA_COMPONENTS, layersOf, rankOf, scaleOf, type LoraFile, type LoraLayer } from '../lora.js';

/** The value that occurs most often, the earliest among equals. */
export function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((best, next) => (next[1] > best[1] ? next : best))[0];
}

/**
 * The same LoRA with one alpha in each component, its commonest. diffusers' reader of kohya files looks for a text
 * encoder's layer of another alpha under a name that none has, and gives it the commonest one (up to 0.42).
 */
export function withOneAlpha(lora: LoraFile): Map<string, LoraLayer> {
  return byComponent(lora, (layers) => {
    const effective = layers.map(({ alpha }) => alpha).filter((alpha) => alpha !== 0);
    const alpha = effective.length > 0 ? mostCommon(effective) : 0;
    return (layer) => (layer.alpha === alpha ? layer : { ...layer, up: times(layer.up, layer.alpha / alpha), alpha });
  });
}

/**
 * The same LoRA with scale 1 and one rank in each component. Without alpha keys, ComfyUI and A1111 take the scale for
 * 1; diffusers before 0.34 takes the rank of the first layer for every layer's alpha. Lower ranks are filled up with
 * zeros.
 */
export function withoutScale(lora: LoraFile): Map<string, LoraLayer> {
  return byComponent(lora, (layers) => {
    const rank = Math.max(...new Set(layers.map(rankOf)));
    return (layer) => {
      const alpha = rankOf(layer);
      return padded(layer.alpha === alpha ? layer : { ...layer, up: times(layer.up, scaleOf(layer)), alpha }, rank);
    };
  });
}

/** A layer of the same effect with its matrices filled up with zeros to a higher rank. */
export function padded(layer: LoraLayer, rank: number): LoraLayer {
  const { down, up } = layer;
  return { down: moreRows(down, rank), up: moreColumns(up, rank), alpha: scaleOf(layer) * rank };
}

/** Layers changed by what their component's layers ask for, in their order. */
function byComponent(
  lora: LoraFile, plan: (layers: readonly LoraLayer[]) => (layer: LoraLayer) => LoraLayer,
): Map<string, LoraLayer> {
  const changes = new Map(LORA_COMPONENTS.map((component) => {
    const layers = [...layersOf(lora, component).values()];
    return [component as string, layers.length > 0 ? plan(layers) : undefined];
  }));
  return new Map([...lora.layers].map(([module, layer]) => (
    [module, changes.get(module.slice(0, module.indexOf('.')))?.(layer) ?? layer])));
}

function times(tensor: HostTensor, factor: number): HostTensor {
  const dtype = tensor.dtype === 'float16' || tensor.dtype === 'bfloat16' ? tensor.dtype : 'float32';
  return fromFloat32(toFloat32(tensor).map((value) => value * factor), tensor.shape, dtype);
}

/** [r, …] with rows of zeros up to `rank`. */
function moreRows(down: HostTensor, rank: number): HostTensor {
  if (down.shape[0] === rank) return down;
  const shape = [rank, ...down.shape.slice(1)];
  const data = new (arrayType(down.dtype))(sizeOf(shape));
  (data as Uint8Array).set(down.data as Uint8Array);
  return { ...down, shape, data };
}

/** [out, r] or [out, r, 1, 1] with columns of zeros up to `rank`. */
function moreColumns(up: HostTensor, rank: number): HostTensor {
  const [out, r, ...rest] = up.shape as [number, number, ...number[]];
  if (r === rank) return up;
  const data = new (arrayType(up.dtype))(sizeOf([out, rank, ...rest]));
  const width = r * sizeOf(rest);
  for (let o = 0; o < out; o++) {
    const row = up.data.subarray(o * width, (o + 1) * width);
    (data as Uint8Array).set(row as Uint8Array, o * rank * sizeOf(rest));
  }
  return { ...up, shape: [out, rank, ...rest], data };
}

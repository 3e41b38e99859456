/** @file The numbers of a LoRA: initial values, from and to files, merging into weights. */
import { FormatError, shown } from '../formats/errors.js';
import { rankOf, scaleOf } from '../formats/lora.js';
import type { LoraFile, LoraLayer } from '../formats/lora.js';
import { host, sizeOf, toFloat32, zeros } from '../graph/dtype.js';
import type { HostTensor, Shape } from '../graph/dtype.js';
import { describeShape } from '../graph/errors.js';
import { add, mul } from '../graph/ops/arithmetic.js';
import { matmul } from '../graph/ops/matmul.js';
import { input } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { normal } from '../random/random.js';
import { compile } from '../runtime/compile.js';
import type { Executable } from '../runtime/compile.js';
import type { LoraAdapter } from './lora.js';

/** Feeds by input name. */
export type LoraValues = Map<string, HostTensor>;

/**
 * Start of training as PEFT's "gaussian": A ~ N(0, (1/r)²), B = 0, so that nothing is changed at first. A layer's
 * numbers depend on its path and the seed alone.
 *
 * @throws Error if the adapter sits on no layer
 */
export function initialLora(adapter: LoraAdapter, seed: number): LoraValues {
  if (adapter.layers.size === 0) {
    throw new Error(`LoRA "${adapter.name}": no layer of the model has one of the target names`);
  }
  const values: LoraValues = new Map();
  for (const [path, { down, up, rank }] of adapter.layers) {
    const noise = normal({ seed, stream: `lora ${path}`, step: 0 }, 0, down.size);
    values.set(down.node.name!, host(noise.map((v) => v / rank), down.shape));
    values.set(up.node.name!, zeros(up.shape));
  }
  return values;
}

/**
 * The feeds of an adapter that was planned with the file's ranks and traced. Where the
 * file has another scale than the plan, `up` makes up for it.
 *
 * @param where the file, for messages
 * @throws FormatError that lists layers which the model lacks or has in another shape
 */
export function loraFromFile(adapter: LoraAdapter, lora: LoraFile, where: string): LoraValues {
  const values: LoraValues = new Map();
  const unknown = [...lora.layers.keys()].filter((path) => !adapter.layers.has(path));
  const problems = unknown.map((path) => `${shown(path)}: no such layer`);
  for (const [path, { down, up, factor }] of adapter.layers) {
    const layer = lora.layers.get(path)!;
    const scale = scaleOf(layer) === factor ? 1 : scaleOf(layer) / factor;
    for (const [t, value, times] of [[down, layer.down, 1], [up, layer.up, scale]] as const) {
      const fitting = fit(value, t.shape, times);
      if (fitting) values.set(t.node.name!, fitting);
      else problems.push(`${shown(path)}: ${describeShape(value.shape)} where the model has ${describeShape(t.shape)}`);
    }
  }
  if (problems.length === 0) return values;
  const made = lora.baseModel ?? 'another architecture';
  throw new FormatError(where,
    `does not fit this model (${lora.layers.size} layers, ${problems.length} problems: ${listed(problems)})`,
    `It was made for ${made}; run \`attune lora inspect\` on it.`);
}

const listed = (problems: readonly string[]): string =>
  problems.slice(0, 5).join('; ') + (problems.length > 5 ? '; …' : '');

/** A linear layer may be stored as a 1 × 1 convolution and the other way round. */
function fit(value: HostTensor, shape: Shape, times: number): HostTensor | null {
  const bare = (s: Shape): string => s.slice(0, 2).concat(s.slice(2).filter((d) => d !== 1)).join();
  if (bare(value.shape) !== bare(shape)) return null;
  const numbers = toFloat32(value);
  return host(times === 1 ? numbers : numbers.map((v) => v * times), shape);
}

/** An adapter's numbers as the layers of a file; alpha is such that alpha/r is the layer's factor. */
export function loraToFile(
  adapter: LoraAdapter, values: ReadonlyMap<string, HostTensor>, about: Omit<LoraFile, 'layers'>,
): LoraFile {
  const layers = new Map<string, LoraLayer>();
  for (const [path, { down, up, rank, factor }] of adapter.layers) {
    layers.set(path, { down: values.get(down.node.name!)!, up: values.get(up.node.name!)!, alpha: factor * rank });
  }
  return { ...about, layers };
}

/**
 * Weights with LoRAs merged in, W + Σ strength · alpha/r · B·A. Only the changed tensors are new.
 *
 * @param weights by full name, `<layer path>.weight`, float32
 * @throws FormatError if a layer has no weight or does not fit it
 */
export async function mergeLora(
  weights: ReadonlyMap<string, HostTensor>, lora: LoraFile, strength: number, where: string,
): Promise<Map<string, HostTensor>> {
  const merged = new Map(weights);
  const products = new Map<string, Executable<'merged'>>(); // by shape: few differ
  await using _ = deferred(() => Promise.all([...products.values()].map((p) => p.release())));
  for (const [path, layer] of lora.layers) {
    const name = `${path}.weight`;
    const weight = weights.get(name);
    const [out, inner] = [layer.up.shape[0]!, sizeOf(layer.down.shape.slice(1))];
    if (!weight || weight.shape[0] !== out || sizeOf(weight.shape) !== out * inner) {
      const problem = weight
        ? `is for a weight of ${out} × ${inner}, the model has ${describeShape(weight.shape)}`
        : 'is for a layer that the model lacks';
      throw new FormatError(`${where}: layer "${shown(path)}"`, problem, 'It was made for another architecture.');
    }
    const rank = rankOf(layer);
    const key = [out, rank, inner].join();
    const product = products.get(key) ?? (await mergeProduct(out, rank, inner));
    products.set(key, product);
    const { merged: result } = await product.run({
      weight: host(toFloat32(weight), [out, inner]),
      up: host(toFloat32(layer.up), [out, rank]),
      down: host(toFloat32(layer.down), [rank, inner]),
      strength: host(new Float32Array([strength * scaleOf(layer)]), []),
    });
    merged.set(name, { ...result, shape: weight.shape });
  }
  return merged;
}

function mergeProduct(out: number, rank: number, inner: number): Promise<Executable<'merged'>> {
  const up = mul(input('up', [out, rank]), input('strength', []));
  return compile({ outputs: { merged: add(input('weight', [out, inner]), matmul(up, input('down', [rank, inner]))) } });
}

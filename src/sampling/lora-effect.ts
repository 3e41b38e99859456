/** @file How much a LoRA changes each layer: the length of ΔW = alpha/r · B·A, and of the weight it changes. */
import { rankOf, scaleOf } from '../formats/lora.js';
import type { LoraFile } from '../formats/lora.js';
import { host, sizeOf, toFloat32 } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';
import { mul } from '../graph/ops/arithmetic.js';
import { swapLast } from '../graph/ops/layout.js';
import { matmul } from '../graph/ops/matmul.js';
import { sum } from '../graph/ops/reduce.js';
import { input } from '../graph/tensor.js';
import { deferred } from '../host/resources.js';
import { compile } from '../runtime/compile.js';
import type { Executable } from '../runtime/compile.js';

export interface LayerEffect {
  readonly path: string;
  /** ‖ΔW‖, the Frobenius norm. */
  readonly change: number;
  /** ‖W‖ of the weight that is changed; undefined if it is not known or of another size. */
  readonly weight?: number;
}

/**
 * The effect of each layer at strength 1, the largest first.
 *
 * @param weights of the model, by full name
 */
export async function loraEffects(
  lora: LoraFile, weights?: ReadonlyMap<string, HostTensor>,
): Promise<LayerEffect[]> {
  const products = new Map<string, Executable<'squared'>>(); // by shape: few differ
  const effects: LayerEffect[] = [];
  await using _ = deferred(() => Promise.all([...products.values()].map((p) => p.release())));
  for (const [path, layer] of lora.layers) {
    const [rank, out, inner] = [rankOf(layer), layer.up.shape[0]!, sizeOf(layer.down.shape.slice(1))];
    const key = [rank, out, inner].join();
    const product = products.get(key) ?? (await squaredNorm(rank, out, inner));
    products.set(key, product);
    const { squared } = await product.run({
      up: host(toFloat32(layer.up), [out, rank]),
      down: host(toFloat32(layer.down), [rank, inner]),
    });
    // Rounding may take the square of nothing below zero.
    const change = Math.abs(scaleOf(layer)) * Math.sqrt(Math.max(0, Number(squared.data[0])));
    const weight = weights?.get(`${path}.weight`);
    const fits = weight && sizeOf(weight.shape) === out * inner;
    effects.push({ path, change, ...(fits && { weight: frobenius(toFloat32(weight)) }) });
  }
  return effects.toSorted((a, b) => b.change - a.change);
}

/** The effects of layers together: roots of the sums of squares. The weight counts only if all are known. */
export function totalEffect(effects: readonly Omit<LayerEffect, 'path'>[]): Omit<LayerEffect, 'path'> {
  const change = Math.hypot(...effects.map((e) => e.change));
  const known = effects.flatMap((e) => e.weight ?? []);
  return { change, ...(known.length === effects.length && { weight: Math.hypot(...known) }) };
}

/** ‖B·A‖² = Σ (BᵀB ∘ AAᵀ), which never makes the large product. */
function squaredNorm(rank: number, out: number, inner: number): Promise<Executable<'squared'>> {
  const [up, down] = [input('up', [out, rank]), input('down', [rank, inner])];
  const squared = sum(mul(matmul(swapLast(up), up), matmul(down, swapLast(down))));
  return compile({ outputs: { squared } }, { threads: 1 }); // too little work to share
}

function frobenius(values: Float32Array): number {
  let squares = 0;
  for (const v of values) squares += v * v;
  return Math.sqrt(squares);
}

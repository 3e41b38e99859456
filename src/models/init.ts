/** @file Random initial weights for training a model from nothing, as PyTorch and transformers would draw them. */
import { host, sizeOf } from '../graph/dtype.js';
import type { HostTensor, Shape } from '../graph/dtype.js';

/** Numbers that depend on the name alone (and on the seed behind it). */
export interface InitialNumbers {
  /** Uniform in [0, 1). */
  uniform(name: string, count: number): Float32Array;
  /** Standard normal. */
  normal(name: string, count: number): Float32Array;
}

/** CLIP's temperature at the start: 1/0.07, kept as a logarithm. */
const LOGIT_SCALE = Math.log(1 / 0.07);
const EMBEDDING_DEVIATION = 0.02;

/**
 * Values for all weights: linear layers and convolutions uniform within ±1/√(fan-in) (Kaiming, a = √5), norms 1 and 0,
 * embedding tables N(0, 0.02²).
 *
 * @param shapes by name, from `componentShapes`
 * @param zero names that start at zero; by default a U-Net's last convolution, so that it first predicts 0
 */
export function initialWeights(
  shapes: ReadonlyMap<string, Shape>, numbers: InitialNumbers, zero = /^(unet\.)?conv_out\./,
): Map<string, HostTensor> {
  const values = new Map<string, HostTensor>();
  for (const [name, shape] of shapes) {
    const data = zero.test(name) ? new Float32Array(sizeOf(shape)) : drawn(name, shape, shapes, numbers);
    values.set(name, host(data, shape));
  }
  return values;
}

function drawn(name: string, shape: Shape, shapes: ReadonlyMap<string, Shape>, numbers: InitialNumbers): Float32Array {
  const count = sizeOf(shape);
  if (name.endsWith('logit_scale')) return new Float32Array([LOGIT_SCALE]);
  if (name.endsWith('class_embedding')) return numbers.normal(name, count).map((v) => v / Math.sqrt(count));
  if (/(token|position|patch)_embedding\.weight$/.test(name)) {
    return numbers.normal(name, count).map((v) => v * EMBEDDING_DEVIATION);
  }
  const matrix = name.endsWith('.bias') ? shapes.get(name.replace(/bias$/, 'weight')) : shape;
  if (!matrix || matrix.length < 2) return new Float32Array(count).fill(name.endsWith('.bias') ? 0 : 1); // a norm
  const bound = 1 / Math.sqrt(sizeOf(matrix.slice(1)));
  return numbers.uniform(name, count).map((v) => (2 * v - 1) * bound);
}

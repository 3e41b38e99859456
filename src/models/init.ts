/** @file Random initial weights for training a model from nothing, as PyTorch and transformers would draw them. */
import { host, sizeOf } from '../graph/dtype.js';
import type { HostTensor, Shape } from '../graph/dtype.js';
import { normal, uniform } from '../random/random.js';

/** CLIP's temperature at the start: 1/0.07, kept as a logarithm. */
const LOGIT_SCALE = Math.log(1 / 0.07);
const EMBEDDING_DEVIATION = 0.02;

/**
 * Values for all weights, each depending on its name and the seed alone: linear layers and convolutions uniform within
 * ±1/√(fan-in) (Kaiming, a = √5), norms 1 and 0, embedding tables N(0, 0.02²).
 *
 * @param shapes by name, from `componentShapes`
 * @param zero names that start at zero; a family's `zeroAtFirst` for a denoiser
 */
export function initialWeights(
  shapes: ReadonlyMap<string, Shape>, seed: number, zero?: RegExp,
): Map<string, HostTensor> {
  const values = new Map<string, HostTensor>();
  for (const [name, shape] of shapes) {
    const data = zero?.test(name) ? new Float32Array(sizeOf(shape)) : drawn(name, shape, shapes, seed);
    values.set(name, host(data, shape));
  }
  return values;
}

function drawn(name: string, shape: Shape, shapes: ReadonlyMap<string, Shape>, seed: number): Float32Array {
  const count = sizeOf(shape);
  const key = { seed, stream: `init ${name}`, step: 0 };
  if (name.endsWith('logit_scale')) return new Float32Array([LOGIT_SCALE]);
  if (name.endsWith('class_embedding')) return normal(key, 0, count).map((v) => v / Math.sqrt(count));
  if (/(token|position|patch)_embedding\.weight$/.test(name)) {
    return normal(key, 0, count).map((v) => v * EMBEDDING_DEVIATION);
  }
  const matrix = name.endsWith('.bias') ? shapes.get(name.replace(/bias$/, 'weight')) : shape;
  if (!matrix || matrix.length < 2) return new Float32Array(count).fill(name.endsWith('.bias') ? 0 : 1); // a norm
  const bound = 1 / Math.sqrt(sizeOf(matrix.slice(1)));
  return Float32Array.from(uniform(key, 0, count), (v) => (2 * v - 1) * bound);
}

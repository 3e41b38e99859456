/** @file The forward process on graph tensors or host arrays: noisy samples, and what the network should answer. */
import { neg } from '../graph/ops/arithmetic.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { combine } from './linear.js';
import type { Value } from './linear.js';
import type { NoiseLevel, PredictionType } from './process.js';

const negative = (c: Operand): Operand => (typeof c === 'number' ? -c : neg(c));

/** x = signal·x0 + noise·ε, in x0's shape; the level's parts are numbers, or tensors [B, 1, 1, 1]. */
export function addNoise<V extends Value>(level: NoiseLevel<number | Tensor>, x0: V, noise: V): V {
  return combine([level.signal, x0], [level.noise, noise]);
}

/** The output that a network which knew x0 and ε would give for their mixture, see `PredictionType`. */
export function predictionTarget<V extends Value>(
  type: PredictionType,
  level: NoiseLevel<number | Tensor>,
  x0: V,
  noise: V,
): V {
  if (type === 'epsilon') return noise;
  if (type === 'sample') return x0;
  if (type === 'flow') return combine([1, noise], [-1, x0]);
  return combine([level.signal, noise], [negative(level.noise), x0]);
}

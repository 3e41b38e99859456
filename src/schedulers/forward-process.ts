/** @file The forward process on graph tensors or host arrays: noisy samples, and what the network should answer. */
import { neg } from '../graph/ops/arithmetic.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { combine } from './linear.js';
import type { Value } from './linear.js';
import type { NoiseLevel, PredictionType } from './noise-schedule.js';

const negative = (c: Operand): Operand => (typeof c === 'number' ? -c : neg(c));

/** x_t = √ā·x0 + √(1−ā)·ε, in x0's shape; the level's parts are numbers, or tensors [B, 1, 1, 1]. */
export function addNoise<V extends Value>(level: NoiseLevel<number | Tensor>, x0: V, noise: V): V {
  return combine([level.signal, x0], [level.noise, noise]);
}

/** The output that a perfect network would give for x_t: ε, v = √ā·ε − √(1−ā)·x0 (Salimans & Ho 2022), or x0. */
export function predictionTarget<V extends Value>(
  type: PredictionType,
  level: NoiseLevel<number | Tensor>,
  x0: V,
  noise: V,
): V {
  if (type === 'epsilon') return noise;
  if (type === 'sample') return x0;
  return combine([level.signal, noise], [negative(level.noise), x0]);
}

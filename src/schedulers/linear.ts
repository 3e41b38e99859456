/** @file Linear combinations of graph tensors or of host arrays: all that a sampler step is. */
import { add, mul } from '../graph/ops/arithmetic.js';
import { Tensor } from '../graph/tensor.js';
import type { Operand } from '../graph/tensor.js';

/** A symbolic tensor, or float32 numbers on the host. */
export type Value = Tensor | Float32Array;

/**
 * Σ cᵢ·vᵢ over values of one kind and size. Coefficients are numbers or, for tensors only, tensors that broadcast.
 * Terms whose coefficient is the number 0 are left out; zeros if that leaves none, as for a model that predicts the
 * clean sample, whose x̂0 does not depend on x. Arrays are summed in float64 and rounded once.
 */
export function combine<V extends Value>(...terms: readonly (readonly [Operand, V])[]): V {
  const used = terms.filter(([c]) => c !== 0);
  const first = terms[0]![1];
  if (first instanceof Tensor) {
    if (used.length === 0) return mul(first, 0) as V;
    return used.map(([c, v]) => mul(v as Tensor, c)).reduce(add) as V;
  }
  const total = new Float64Array(first.length);
  for (const [c, v] of used as unknown as readonly (readonly [number, Float32Array])[]) {
    if (typeof c !== 'number') throw new Error('host arrays take numbers as coefficients, not graph tensors');
    if (v.length !== first.length) throw new Error(`arrays of ${first.length} and ${v.length} numbers cannot be added`);
    for (let i = 0; i < total.length; i++) total[i]! += c * v[i]!;
  }
  return new Float32Array(total) as Value as V;
}

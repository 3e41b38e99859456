/** @file The values of a model that are known when it is imported: initializers, and what was folded from them. */
import type { HostTensor } from '../dtype.js';
import { constant, weight } from '../tensor.js';
import type { Tensor } from '../tensor.js';

/** Up to this many elements a known value is written into the graph; above, it is a frozen input. */
const CONSTANT_ELEMENTS = 1024;

/** Known values by tensor. One for all calls of an imported model, so that each weight is one tensor. */
export interface Constants {
  /** The numbers of a tensor that was made here. */
  of(tensor: Tensor): HostTensor | undefined;
  /** A tensor with these numbers: a constant if it is small, else the frozen input `name`. */
  make(name: string, value: HostTensor): Tensor;
  /** The numbers of the frozen inputs, by name. */
  readonly weights: ReadonlyMap<string, HostTensor>;
}

/** Whether two tensors hold the same bytes in the same shape. */
export function same(a: HostTensor, b: HostTensor): boolean {
  if (a === b) return true;
  const bytes = ({ data }: HostTensor): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  const [x, y] = [bytes(a), bytes(b)];
  return x.every((byte, i) => byte === y[i]);
}

/** @param prefix what the names of weights begin with */
export function createConstants(prefix: string): Constants {
  const values = new WeakMap<Tensor, HostTensor>();
  const tensors = new Map<string, Tensor>();
  const weights = new Map<string, HostTensor>();
  const remember = (tensor: Tensor, value: HostTensor): Tensor => {
    values.set(tensor, value);
    return tensor;
  };
  return {
    weights,
    of: (tensor) => values.get(tensor),
    make(name, value) {
      if (value.data.length <= CONSTANT_ELEMENTS) return remember(constant(value), value);
      // The same at each trace of the model; other numbers of that name can only come from unlucky names in functions.
      let full = prefix + name;
      while (weights.has(full) && !same(weights.get(full)!, value)) full += "'";
      const known = tensors.get(full);
      if (known) return known;
      const made = remember(weight(full, value.shape, value.dtype), value);
      tensors.set(full, made);
      weights.set(full, value);
      return made;
    },
  };
}

/** @file When two graphs compute the same: a key that knows nothing of the order in which nodes were traced. */
import { schedule } from './onnx/export.js';
import { resolve } from './tensor.js';
import type { Node, Tensor } from './tensor.js';

/** Larger constants are told apart by their array, not by their numbers. */
const MOST_COMPARED = 2 ** 16;

/** Numbers as they are: JSON has no infinity, no NaN and no −0. */
const exact = (_: string, value: unknown): unknown =>
  typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0)) ? `number ${Object.is(value, -0) ? '-0' : value}` : value;

export interface GraphKeys {
  /** Equal for named outputs that are computed in the same way from inputs of the same names, shapes and dtypes. */
  of(outputs: Readonly<Record<string, Tensor>>): string;
  /** A number for an object, the same at each call. */
  identity(thing: object): number;
}

/** Keys that can be compared with each other. */
export function openGraphKeys(): GraphKeys {
  const numbers = new Map<string, number>();
  const known = new WeakMap<Node, number>();
  const identities = new WeakMap<object, number>();
  let met = 0;
  const identity = (thing: object): number => {
    if (!identities.has(thing)) identities.set(thing, met++);
    return identities.get(thing)!;
  };
  const reference = (tensor: Tensor | null): string => {
    if (!tensor) return '';
    const { node, index } = resolve(tensor);
    return `${known.get(node)!}.${index}`;
  };
  const valueKey = ({ value }: Node): string => {
    if (!value) return '';
    const { data } = value;
    if (data.byteLength > MOST_COMPARED) return `array ${identity(data)}`;
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).join();
  };
  return {
    identity,
    of(outputs) {
      for (const node of schedule(Object.values(outputs))) {
        if (known.has(node)) continue;
        const { op, domain, name = null, frozen = false, attributes } = node;
        const made = node.outputs.map((t) => [t.dtype, t.shape]);
        const text = JSON.stringify([op, domain, name, frozen, attributes, node.inputs.map(reference), made, valueKey(node)], exact);
        if (!numbers.has(text)) numbers.set(text, numbers.size);
        known.set(node, numbers.get(text)!);
      }
      return Object.entries(outputs).map(([name, t]) => `${JSON.stringify(name)}:${reference(t)}`).join();
    },
  };
}

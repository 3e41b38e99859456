/**
 * @file How layers find their weights. A model is a pure function of a `Scope`; the scope decides whether a weight is a
 * frozen input, a trainable input, or only written down, which adapters (LoRA) sit on a layer, and what it computes in.
 */
import type { Shape } from '../graph/dtype.js';
import { add } from '../graph/ops/arithmetic.js';
import type { Padding } from '../graph/ops/conv.js';
import { input, weight } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import { computeAt, FLOAT32, over } from './precision.js';
import type { ComputeType, Precision } from './precision.js';

/** Something added to a layer's output, LoRA for instance; in float32, whatever the layer computes in. */
export interface Adapter {
  /** What to add to the output of the linear layer at `path` for x [..., in], or null for nothing. */
  linear(path: string, x: Tensor, outFeatures: number): Tensor | null;
  /** What to add to the output of the convolution at `path` for x [B, C, H, W], or null for nothing. */
  conv(path: string, x: Tensor, kernel: Shape /* [O, C, kh, kw] */, stride: number, padding: Padding): Tensor | null;
}

/** Makes the tensor for a weight: (full name, shape) → tensor. Asked again for one name it gives the same tensor. */
export type WeightSymbols = (name: string, shape: Shape) => Tensor;

export interface Scope {
  /** Dotted path of the layer, '' at the root. */
  readonly path: string;
  readonly adapters: readonly Adapter[];
  /** What this layer computes in: of this type are its weights, and so its inputs must be (`enter`). */
  readonly compute: ComputeType;
  /** The scope of a part: `scope.at('down_blocks').at(0)` or `scope.at('down_blocks.0')`. */
  at(part: string | number): Scope;
  /** The weight `name` of this layer. */
  weight(name: string, shape: Shape): Tensor;
}

/** A scope at the root of a model. */
export function rootScope(
  source: WeightSymbols, adapters: readonly Adapter[] = [], path = '', precision: Precision = FLOAT32,
): Scope {
  const join = (part: string | number): string => (path ? `${path}.${part}` : String(part));
  const compute = computeAt(precision, path);
  return {
    path,
    adapters,
    compute,
    at: (part) => rootScope(source, adapters, join(part), precision),
    weight: (name, shape) => over(source(join(name), shape), compute),
  };
}

/** x as the layer computes: what comes from an island, or goes into one, is cast here. */
export const enter = ({ compute }: Scope, x: Tensor): Tensor => over(x, compute);

/** A network's result as the world outside has it. */
export const leave = (x: Tensor): Tensor => over(x, 'float32');

/**
 * A layer's output with what adapters add to it.
 *
 * @param x the layer's input
 * @param y its output by its own weights
 * @param added what an adapter adds for x in float32
 */
export function adapted(
  { adapters, compute }: Scope, x: Tensor, y: Tensor, added: (adapter: Adapter, x: Tensor) => Tensor | null,
): Tensor {
  let sum = y;
  for (const adapter of adapters) {
    const extra = added(adapter, leave(x));
    if (extra) sum = add(leave(sum), extra);
  }
  return over(sum, compute);
}

function remembering(make: (name: string, shape: Shape) => Tensor): WeightSymbols {
  const made = new Map<string, Tensor>();
  return (name, shape) => {
    const known = made.get(name) ?? make(name, shape);
    made.set(name, known);
    return known;
  };
}

/** Weights as frozen inputs named `prefix + name`. */
export function frozenWeights(prefix = ''): WeightSymbols {
  return remembering((name, shape) => weight(prefix + name, shape));
}

/** Weights as inputs named `prefix + name` that change between runs; `record` receives each new one. */
export function trainableWeights(prefix: string, record: (name: string, tensor: Tensor) => void): WeightSymbols {
  return remembering((name, shape) => {
    const t = input(prefix + name, shape);
    record(name, t);
    return t;
  });
}

/** The names and shapes of all weights that `trace` asks for. */
export function weightShapes(trace: (scope: Scope) => void): Map<string, Shape> {
  const shapes = new Map<string, Shape>();
  trace(rootScope(remembering((name, shape) => {
    shapes.set(name, shape);
    return weight(name, shape);
  })));
  return shapes;
}

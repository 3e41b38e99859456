/** @file Low-rank adapters (Hu et al., arXiv 2106.09685): y += scale · factor · B·A·x on chosen layers. */
import type { Shape } from '../graph/dtype.js';
import { mul } from '../graph/ops/arithmetic.js';
import { conv2d } from '../graph/ops/conv.js';
import { linear } from '../graph/ops/matmul.js';
import { input } from '../graph/tensor.js';
import type { Tensor } from '../graph/tensor.js';
import type { Adapter } from './scope.js';

export interface LoraLayerPlan {
  rank: number;
  /** Constant on B·A: alpha/r, or alpha/√r in rank-stabilised LoRA. */
  factor: number;
}

/** Which layers are adapted: by full path, e.g. `unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`. */
export type LoraPlan = (path: string) => LoraLayerPlan | undefined;

export interface LoraOptions {
  rank: number;
  /** The rank by default, which makes the factor 1. */
  alpha?: number;
  /** factor alpha/√r instead of alpha/r (Kalajdzievski, arXiv 2312.03732). */
  rankStabilised?: boolean;
  /** Ends of paths, whole segments; `*` stands for any characters. */
  targets: readonly string[];
}

/** The plan of a new LoRA: every layer whose path ends in one of the targets. */
export function planByTargets(options: LoraOptions): LoraPlan {
  const { rank, alpha = rank, rankStabilised = false, targets } = options;
  const factor = alpha / (rankStabilised ? Math.sqrt(rank) : rank);
  const ends = targets.map((t) => t.replace(/[\\^$.+?()[\]{}|]/g, '\\$&').replaceAll('*', '.*'));
  const pattern = new RegExp(`(^|\\.)(${ends.join('|')})$`);
  return (path) => (pattern.test(path) ? { rank, factor } : undefined);
}

/** An adapted layer: its two matrices are the inputs `<adapter>.<path>.down` and `<adapter>.<path>.up`. */
export interface LoraLayerTensors extends LoraLayerPlan {
  down: Tensor; // [r, in], or [r, in, kh, kw] for a convolution
  up: Tensor; // [out, r] or [out, r, 1, 1]
}

export interface LoraAdapter extends Adapter {
  readonly name: string;
  /** Input `<adapter>.scale` []: strength, 0 for off; it can change at each run. */
  readonly scale: Tensor;
  /** The adapted layers by path; complete once the model is traced. */
  readonly layers: ReadonlyMap<string, LoraLayerTensors>;
}

/** Makes an adapter for scopes. Several can sit on one scope; their names must differ. */
export function loraAdapter(name: string, plan: LoraPlan): LoraAdapter {
  const scale = input(`${name}.scale`, []);
  const strengths = new Map<number, Tensor>();
  const strength = (factor: number): Tensor => {
    const known = strengths.get(factor) ?? mul(scale, factor);
    strengths.set(factor, known);
    return known;
  };
  const layers = new Map<string, LoraLayerTensors>();
  type ByRank = (rank: number) => Shape;
  const layer = (path: string, downShape: ByRank, upShape: ByRank): LoraLayerTensors | null => {
    const known = layers.get(path);
    if (known) return known;
    const planned = plan(path);
    if (!planned) return null;
    const made = {
      ...planned,
      down: input(`${name}.${path}.down`, downShape(planned.rank)),
      up: input(`${name}.${path}.up`, upShape(planned.rank)),
    };
    layers.set(path, made);
    return made;
  };
  return {
    name,
    scale,
    layers,
    linear(path, x, out) {
      const found = layer(path, (r) => [r, x.shape.at(-1)!], (r) => [out, r]);
      // The strength goes on the narrow side, where it costs least.
      return found && linear(mul(linear(x, found.down), strength(found.factor)), found.up);
    },
    conv(path, x, [o, c, kh, kw], stride, padding) {
      const found = layer(path, (r) => [r, c!, kh!, kw!], (r) => [o!, r, 1, 1]);
      if (!found) return null;
      const narrow = conv2d(x, found.down, undefined, { stride, padding });
      return conv2d(mul(narrow, strength(found.factor)), found.up);
    },
  };
}

/** The targets that end no layer's path, of those that an adapter was planned with. */
export function unmatchedTargets(adapter: LoraAdapter, targets: readonly string[]): string[] {
  return targets.filter((target) => {
    const plan = planByTargets({ rank: 1, targets: [target] });
    return ![...adapter.layers.keys()].some((path) => plan(path));
  });
}

/** The largest rank that any adapted layer has room for: B·A has no more than the smaller side of its matrix. */
export function largestRank(adapter: LoraAdapter): number {
  const sides = [...adapter.layers.values()].map(({ down, up }) => {
    const [, ...inner] = down.shape;
    return Math.min(up.shape[0]!, inner.reduce((a, b) => a * b, 1));
  });
  return Math.max(0, ...sides);
}

/** The trainable tensors of an adapter by input name, in the order of the trace. */
export function loraParameters(adapter: LoraAdapter): Map<string, Tensor> {
  const parameters = new Map<string, Tensor>();
  for (const { down, up } of adapter.layers.values()) {
    for (const t of [down, up]) parameters.set(t.node.name!, t);
  }
  return parameters;
}

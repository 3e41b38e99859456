/** @file The blocks of the Stable Diffusion 1.5 U-Net as graphs, with frozen weights and rank-8 LoRA on attention. */
import type { Shape } from '../src/graph/dtype.js';
import { checkpoint } from '../src/graph/grad.js';
import { gelu, silu } from '../src/graph/ops/activation.js';
import { add, mul } from '../src/graph/ops/arithmetic.js';
import { attention } from '../src/graph/ops/attention.js';
import { conv2d } from '../src/graph/ops/conv.js';
import { reshape, split, transpose } from '../src/graph/ops/layout.js';
import { linear } from '../src/graph/ops/matmul.js';
import { groupNorm, layerNorm } from '../src/graph/ops/norm.js';
import { input, weight } from '../src/graph/tensor.js';
import type { Tensor } from '../src/graph/tensor.js';

export const HEADS = 8;
const RANK = 8;
const TIME = 1280;
/** Text tokens and their width. */
const [WORDS, WIDTH] = [77, 768] as const;

/** Hands out a block's inputs by name, the same one when a checkpointed block is traced again. */
export class Parameters {
  private readonly made = new Map<string, Tensor>();
  /** Inputs that are trained. */
  readonly trained: Tensor[] = [];

  private make(name: string, create: () => Tensor): Tensor {
    const tensor = this.made.get(name) ?? create();
    this.made.set(name, tensor);
    return tensor;
  }

  frozen(name: string, shape: Shape): Tensor {
    return this.make(name, () => weight(name, shape));
  }

  input(name: string, shape: Shape): Tensor {
    return this.make(name, () => input(name, shape));
  }

  train(name: string, shape: Shape): Tensor {
    return this.make(name, () => {
      this.trained.push(input(name, shape));
      return this.trained.at(-1)!;
    });
  }
}

/** A block: its trace, and the floating-point operations of a forward pass and of forward + backward. */
export interface Block {
  /** Of the input and of the output. */
  readonly shape: Shape;
  trace(x: Tensor, from: Parameters, path: string): Tensor;
  readonly flops: { readonly forward: number; readonly training: number };
}

/** Residual block: GroupNorm–SiLU–convolution, time embedding, GroupNorm–SiLU–convolution, and the skip. x [B, C, S, S]. */
export function residualBlock(channels: number, side: number, batch = 1): Block {
  const conv = 2 * 9 * channels * channels * side * side * batch;
  const embed = 2 * TIME * channels;
  return {
    shape: [batch, channels, side, side],
    flops: { forward: 2 * conv + embed, training: 4 * conv + embed },
    trace(x, from, p) {
      const normed = (t: Tensor, name: string): Tensor =>
        silu(groupNorm(t, 32, from.frozen(`${p}${name}.scale`, [channels]), from.frozen(`${p}${name}.shift`, [channels])));
      const convolved = (t: Tensor, name: string): Tensor => {
        const kernel = from.frozen(`${p}${name}.weight`, [channels, channels, 3, 3]);
        return conv2d(t, kernel, from.frozen(`${p}${name}.bias`, [channels]), { padding: 1 });
      };
      const time = silu(from.input(`time`, [1, TIME]));
      const shift = linear(time, from.frozen(`${p}time.weight`, [channels, TIME]), from.frozen(`${p}time.bias`, [channels]));
      const h = add(convolved(normed(x, 'norm1'), 'conv1'), reshape(shift, [1, channels, 1, 1]));
      return add(convolved(normed(h, 'norm2'), 'conv2'), x);
    },
  };
}

/**
 * Transformer block: self-attention, cross-attention to 77 text tokens and a GEGLU feed-forward network, each after a
 * LayerNorm and added to its input. All eight attention projections carry a LoRA. x [B, N, C].
 */
export function transformerBlock(channels: number, tokens: number, batch = 1): Block {
  const rows = batch * tokens;
  const texts = batch * WORDS;
  const square = 2 * rows * channels * channels;
  const text = 2 * 2 * texts * WIDTH * channels;
  const scores = 4 * rows * channels * (tokens + WORDS);
  const lora = 2 * RANK * (6 * rows * 2 * channels + 2 * texts * (WIDTH + channels));
  return {
    shape: [batch, tokens, channels],
    // Backward: a frozen weight costs its input gradient (none by the text); attention and LoRA cost two products each.
    flops: { forward: 18 * square + text + scores + lora, training: 36 * square + text + 3 * (scores + lora) },
    trace(x, from, p) {
      const project = (t: Tensor, name: string, bias = false): Tensor => {
        const width = t.shape.at(-1)!;
        const shift = bias ? from.frozen(`${p}${name}.bias`, [channels]) : undefined;
        const base = linear(t, from.frozen(`${p}${name}.weight`, [channels, width]), shift);
        const low = linear(t, from.train(`${p}${name}.down`, [RANK, width]));
        return add(base, linear(low, from.train(`${p}${name}.up`, [channels, RANK])));
      };
      const heads = (t: Tensor): Tensor =>
        transpose(reshape(t, [batch, t.shape[1]!, HEADS, channels / HEADS]), [0, 2, 1, 3]);
      const attend = (t: Tensor, to: Tensor, name: string): Tensor => {
        const [q, k, v] = [project(t, `${name}.q`), project(to, `${name}.k`), project(to, `${name}.v`)];
        const mixed = attention(heads(q), heads(k), heads(v));
        return project(reshape(transpose(mixed, [0, 2, 1, 3]), t.shape), `${name}.out`, true);
      };
      const normed = (t: Tensor, name: string): Tensor =>
        layerNorm(t, from.frozen(`${p}${name}.scale`, [channels]), from.frozen(`${p}${name}.shift`, [channels]));
      const dense = (t: Tensor, name: string, out: number): Tensor =>
        linear(t, from.frozen(`${p}${name}.weight`, [out, t.shape.at(-1)!]), from.frozen(`${p}${name}.bias`, [out]));
      const n1 = normed(x, 'norm1');
      const h = add(x, attend(n1, n1, 'self'));
      const context = from.input('context', [batch, WORDS, WIDTH]);
      const g = add(h, attend(normed(h, 'norm2'), context, 'cross'));
      const [value, gate] = split(dense(normed(g, 'norm3'), 'ff1', 8 * channels), [4 * channels, 4 * channels], -1) as [Tensor, Tensor];
      return add(g, dense(mul(value, gelu(gate)), 'ff2', channels));
    },
  };
}

/** `count` blocks in a row, recomputed one by one in the backward pass or not. */
export function chain(block: Block, count: number, recompute: boolean): Block {
  return {
    shape: block.shape,
    flops: { forward: count * block.flops.forward, training: count * block.flops.training },
    trace(x, from, p) {
      let y = x;
      for (let i = 0; i < count; i++) {
        const once = (t: Tensor): Tensor[] => [block.trace(t, from, `${p}${i}.`)];
        y = recompute ? checkpoint(once, [y])[0]! : once(y)[0]!;
      }
      return y;
    },
  };
}

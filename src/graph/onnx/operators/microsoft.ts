/** @file Fused operators of ONNX Runtime (domain com.microsoft), which its optimiser and Optimum put into encoders. */
import { attention } from '../../ops/attention.js';
import { gelu, geluTanh, quickGelu, relu } from '../../ops/activation.js';
import { add, greater, less, mul, sigmoid, where } from '../../ops/arithmetic.js';
import { gather } from '../../ops/gather.js';
import { narrow, reshape, swapLast, transpose, unsqueeze } from '../../ops/layout.js';
import { rmsNorm } from '../../ops/norm.js';
import { sum } from '../../ops/reduce.js';
import { constant, full, literal } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';
import { fromHeads, toHeads } from './attention.js';
import { convolutions } from './convolution.js';
import { layer, normalization, skipLayer } from './normalization.js';
import { anyMatmul } from './product.js';

const biased = (x: Tensor, bias: Tensor | undefined): Tensor => (bias ? add(x, bias) : x);

/**
 * 0 where a key may be looked at, `hidden` where not. The mask is [B, M], [B, N, M] or [B, 1, N, M] with 1 for visible,
 * or [B], the number of visible keys.
 */
function maskBias(c: Call, mask: Tensor, keys: Tensor, hidden: number): Tensor {
  const [b, m] = [keys.shape[0]!, keys.shape[2]!];
  const counted = (): Tensor => {
    if (mask.size !== b) c.fail(`a mask index ${mask} for a batch of ${b} is not supported`);
    c.budget(m);
    return less(literal(Array.from({ length: m }, (_, i) => i), [1, m], mask.dtype), unsqueeze(mask, 1));
  };
  const visible = mask.rank === 1 ? counted() : greater(mask, 0);
  const wide = visible.rank === 2 ? unsqueeze(visible, 1, 2) : visible.rank === 3 ? unsqueeze(visible, 1) : visible;
  return where(wide, full(wide.shape, 0), hidden);
}

/** Hides the keys after each query. */
function causalBias(c: Call, n: number, m: number, hidden: number): Tensor {
  c.budget(n * m);
  const bias = Float32Array.from({ length: n * m }, (_, i) => (i % m > Math.floor(i / m) + m - n ? hidden : 0));
  return constant({ data: bias, shape: [1, 1, n, m], dtype: 'float32' });
}

/** Attention of heads [B, H, N, D] with the masks and scale that both fused operators have. */
function attend(c: Call, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | undefined, bias: Tensor | undefined): Tensor {
  const hidden = c.float('mask_filter_value', -10000);
  const scale = c.float('scale', 0);
  const parts = [bias, mask && maskBias(c, mask, k, hidden)];
  // A causal mask hides completely, whatever the filter value.
  if (c.int('unidirectional', 0) === 1) parts.push(causalBias(c, q.shape[2]!, k.shape[2]!, -3.4028234663852886e38));
  const given = parts.filter((p) => p !== undefined);
  const total = given.length ? given.reduce((a, b) => add(a, b)) : undefined;
  const options = { ...(total && { mask: total }), ...(scale !== 0 && { scale }) };
  return fromHeads(attention(q, k, v, options));
}

/** Self-attention with its projections: x [B, N, C], weights [C, 2·H·D + H·E]. */
const attentionOf: Operator = (c) => {
  const [x, w, bias, mask, more] = [c.x(0), c.x(1), c.optional(2), c.optional(3), c.optional(5)];
  if (c.int('do_rotary', 0) !== 0) c.fail('rotary embedding is not supported');
  c.ignore('past_present_share_buffer', 'rotary_embedding_dim');
  const heads = c.int('num_heads') ?? c.fail('attribute num_heads is missing');
  const projected = biased(anyMatmul(x, w), bias);
  const third = w.shape[1]! / 3;
  const [a, b] = c.intList('qkv_hidden_sizes') ?? [third, third];
  const part = (from: number, to: number): Tensor => toHeads(c, narrow(projected, 2, from, to), heads);
  return attend(c, part(0, a!), part(a!, a! + b!), part(a! + b!, w.shape[1]!), mask, more);
};

/** Attention of queries, keys and values, apart or packed as [B, N, H, 3, D] or [B, N, H, D] + [B, M, H, 2, D]. */
const multiHeadAttention: Operator = (c) => {
  const heads = c.int('num_heads') ?? c.fail('attribute num_heads is missing');
  const [query, key, value, bias] = [c.x(0), c.optional(1), c.optional(2), c.optional(3)];
  /** [B, N, H, P, D] → part i as [B, H, N, D]. */
  const part = (t: Tensor, i: number): Tensor => {
    const [b, n, h, , d] = t.shape as [number, number, number, number, number];
    return transpose(reshape(narrow(t, 3, i, i + 1), [b, n, h, d]), [0, 2, 1, 3]);
  };
  const three = (): Tensor[] => {
    if (query.rank === 5) return [part(query, 0), part(query, 1), part(query, 2)];
    if (key?.rank === 5) return [toHeads(c, query, heads), part(key, 0), part(key, 1)];
    if (!key || !value) return c.fail('key and value are missing');
    return [query, key, value].map((t) => toHeads(c, t, heads));
  };
  const [q, k, v] = three() as [Tensor, Tensor, Tensor];
  let at = 0;
  const plus = (t: Tensor): Tensor => {
    if (!bias) return t;
    const [h, d] = [t.shape[1]!, t.shape[3]!];
    return add(t, reshape(narrow(bias, 0, at, (at += h * d)), [1, h, 1, d]));
  };
  return attend(c, plus(q), plus(k), plus(v), c.optional(4), c.optional(5));
};

/** alpha·op(A)·op(B), the last two axes of either swapped on request. */
const fusedMatmul: Operator = (c) => {
  if (c.int('transBatchA', 0) !== 0 || c.int('transBatchB', 0) !== 0) c.fail('transposed batches are not supported');
  const a = c.int('transA', 0) === 1 ? swapLast(c.x(0)) : c.x(0);
  const b = c.int('transB', 0) === 1 ? swapLast(c.x(1)) : c.x(1);
  return mul(anyMatmul(a, b), c.float('alpha', 1));
};

/** Convolution (+ a tensor) and an activation. */
const fusedConv: Operator = (c) => {
  const y = biased(convolutions['Conv']!(c) as Tensor, c.optional(3));
  const kind = c.string('activation', '');
  if (kind === '') return y;
  if (kind === 'Relu') return relu(y);
  return kind === 'Sigmoid' ? sigmoid(y) : c.fail(`activation ${kind} is not supported`);
};

/** Sum of word, position and segment embeddings, normalised; output 1 counts what the mask [B, N] leaves visible. */
const embedLayer: Operator = (c) => {
  const [ids, segments, words, places, kinds] = [c.x(0), c.optional(1), c.x(2), c.x(3), c.optional(4)];
  const [gamma, beta] = [c.x(5), c.x(6)];
  const positions = c.optional(8);
  const n = ids.shape[1]!;
  const at = positions ? gather(places, positions) : narrow(places, 0, 0, n);
  const plain = add(gather(words, ids), at);
  const total = segments && kinds ? add(plain, gather(kinds, segments)) : plain;
  const [y] = layer(c, total, gamma, beta, -1, c.float('epsilon', 1e-12));
  const mask = c.optional(7);
  const visible = mask ? sum(mask, { axes: [1] }) : full([ids.shape[0]!], 0, 'int32');
  return [y!, visible, total];
};

const skipRms: Operator = (c) => {
  const [x, skip, gamma, bias] = [c.x(0), c.x(1), c.x(2), c.optional(3)];
  const total = biased(add(x, skip), bias);
  return [rmsNorm(total, gamma, c.float('epsilon', 1e-12)), undefined, undefined, total];
};

const quick: Operator = (c) => {
  const alpha = c.float('alpha', 1.702);
  return Math.abs(alpha - 1.702) < 1e-6 ? quickGelu(c.x(0)) : mul(c.x(0), sigmoid(mul(c.x(0), alpha)));
};

export const microsoft: Readonly<Record<string, Operator>> = {
  Attention: attentionOf,
  MultiHeadAttention: multiHeadAttention,
  Gelu: (c) => gelu(c.x(0)),
  FastGelu: (c) => geluTanh(biased(c.x(0), c.optional(1))),
  BiasGelu: (c) => gelu(biased(c.x(0), c.optional(1))),
  QuickGelu: quick,
  FusedMatMul: fusedMatmul,
  FusedConv: fusedConv,
  LayerNormalization: normalization['LayerNormalization']!,
  EmbedLayerNormalization: embedLayer,
  SkipLayerNormalization: skipLayer,
  SkipSimplifiedLayerNormalization: skipRms,
};

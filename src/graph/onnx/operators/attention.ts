/** @file ONNX Attention and RotaryEmbedding (operator sets 23 and 24). */
import { softmax } from '../../ops/activation.js';
import { add, div, greater, less, lessEqual, maximum, mul, sub, tanh, where } from '../../ops/arithmetic.js';
import { attention } from '../../ops/attention.js';
import { gather } from '../../ops/gather.js';
import { concat, expand, narrow, pad, reshape, swapLast, transpose, unsqueeze } from '../../ops/layout.js';
import { matmul } from '../../ops/matmul.js';
import { max } from '../../ops/reduce.js';
import { full, literal } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';

/** [B, N, H·D] → [B, H, N, D]; what is already [B, H, N, D] stays. */
export function toHeads(c: Call, x: Tensor, heads: number): Tensor {
  if (x.rank === 4) return x;
  const [b, n, width] = x.rank === 3 ? (x.shape as [number, number, number]) : c.fail(`${x} is not [B, N, C]`);
  return transpose(reshape(x, [b, n, heads, width / heads]), [0, 2, 1, 3]);
}

/** [B, H, N, D] → [B, N, H·D]. */
export function fromHeads(x: Tensor): Tensor {
  const [b, h, n, d] = x.shape as [number, number, number, number];
  return reshape(transpose(x, [0, 2, 1, 3]), [b, n, h * d]);
}

const HIDDEN = -Infinity;
/** In place of −∞, so that softmax of hidden keys alone is a number. */
const LOWEST = -1e30;
const counting = (n: number, shape: number[]): Tensor => literal(Array.from({ length: n }, (_, i) => i), shape, 'int64');
const visible = (mask: Tensor): Tensor => where(mask, full(mask.shape, 0), HIDDEN);

/** What is added to the scores [B, H, N, M], undefined where nothing is hidden. */
function biasOf(c: Call, n: number, m: number, past: number): Tensor | undefined {
  const parts: Tensor[] = [];
  const mask = c.optional(3);
  if (mask) {
    const bias = mask.dtype === 'bool' ? visible(mask) : mask;
    // A mask may say nothing of the last keys: they are hidden.
    const missing = m - bias.shape.at(-1)!;
    const ends = bias.shape.map((_, i) => (i === bias.rank - 1 ? Math.max(0, missing) : 0));
    parts.push(pad(bias, ends.map(() => 0), ends, 'constant', HIDDEN));
  }
  const lengths = c.optional(6);
  const each = lengths && reshape(lengths, [lengths.size, 1, 1, 1]); // keys of each image
  if (each) parts.push(visible(less(counting(m, [1, 1, 1, m]), each)));
  if (c.int('is_causal', 0) === 1) {
    c.budget(n * m);
    const rows = counting(n, [1, 1, n, 1]);
    const last = each ? add(rows, sub(each, n)) : add(rows, past);
    parts.push(visible(lessEqual(counting(m, [1, 1, 1, m]), last)));
  }
  return parts.length > 0 ? parts.reduce((a, b) => add(a, b)) : undefined;
}

/**
 * softmax(softcap(q·kᵀ·scale) + bias)·v, where softcap(x) = cap·tanh(x/cap); queries that see no key get 0. The fourth
 * output holds what qk_matmul_output_mode asks for: the scores (0), capped (1), with the bias (2), or softmax's (3).
 */
const attentionOf: Operator = (c) => {
  const [query, heads] = [c.x(0), c.int('q_num_heads')];
  const q = toHeads(c, query, heads ?? query.shape[1]!);
  const own = c.int('kv_num_heads');
  const [key, value] = [c.x(1), c.x(2)].map((t) => toHeads(c, t, own ?? t.shape[1]!)) as [Tensor, Tensor];
  const [pastKey, pastValue] = [c.optional(4), c.optional(5)];
  const [k, v] = [pastKey ? concat([pastKey, key], 2) : key, pastValue ? concat([pastValue, value], 2) : value];
  c.ignore('softmax_precision');
  const [b, h, n, d] = q.shape as [number, number, number, number];
  const [groups, m] = [k.shape[1]!, k.shape[2]!];
  if (h % groups !== 0) c.fail(`${h} heads of queries do not divide into ${groups} of keys`);
  /** Each head of keys serves h/groups heads of queries. */
  const repeated = (t: Tensor): Tensor => (groups === h ? t
    : reshape(expand(unsqueeze(t, 2), [b, groups, h / groups, ...t.shape.slice(2)]), [b, h, ...t.shape.slice(2)]));
  const scale = c.float('scale', 1 / Math.sqrt(d));
  const cap = c.float('softcap', 0);
  const bias = biasOf(c, n, m, pastKey?.shape[2] ?? 0);
  const mask = bias && maximum(bias, LOWEST);
  const [keys, values] = [repeated(k), repeated(v)];
  // Only a mask, or lengths, can hide all keys of a query.
  const seen = bias && (c.optional(3) ?? c.optional(6)) && greater(max(bias, { axes: [-1], keepDims: true }), LOWEST);
  const ofSeen = (t: Tensor): Tensor => (seen ? where(seen, t, 0) : t);
  const raw = (): Tensor => matmul(mul(q, scale), swapLast(keys));
  const capped = (): Tensor => (cap === 0 ? raw() : mul(tanh(div(raw(), cap)), cap));
  const probabilities = (): Tensor => softmax(mask ? add(capped(), mask) : capped());
  const y = ofSeen(cap === 0 ? attention(q, keys, values, { scale, ...(mask && { mask }) }) : matmul(probabilities(), values));
  const mode = c.int('qk_matmul_output_mode', 0);
  const shown = [raw, capped, () => (bias ? add(capped(), bias) : capped()), () => ofSeen(probabilities())][mode]
    ?? c.fail(`qk_matmul_output_mode ${mode} is not 0, 1, 2 or 3`);
  return [query.rank === 3 ? fromHeads(y) : y, k, v, ...(c.node.output[3] ? [shown()] : [])];
};

/** Turns pairs of numbers of each head by the angles of its position; the pairs are neighbours or lie half apart. */
const rotary: Operator = (c) => {
  const input = c.x(0);
  const heads = c.int('num_heads', 0);
  const x = toHeads(c, input, heads); // [B, H, N, D]
  const [b, h, n, width] = x.shape as [number, number, number, number];
  const turned = c.int('rotary_embedding_dim', 0) || width;
  const half = turned / 2;
  const positions = c.optional(3);
  const angles = (i: number): Tensor => {
    const cache = positions ? gather(c.x(i), positions) : c.x(i);
    if (cache.shape.at(-1) !== half) c.fail(`cache ${cache} does not fit ${turned} numbers`);
    return reshape(cache, [cache.rank === 3 ? cache.shape[0]! : 1, 1, n, half]);
  };
  const [cos, sin] = [angles(1), angles(2)];
  const interleaved = c.int('interleaved', 0) === 1;
  const pairs = narrow(x, 3, 0, turned);
  const grouped = reshape(pairs, [b, h, n, ...(interleaved ? [half, 2] : [2, half])]);
  const axis = interleaved ? 4 : 3;
  const [first, second] = [0, 1].map((i) => reshape(narrow(grouped, axis, i, i + 1), [b, h, n, half])) as [Tensor, Tensor];
  const parts = [sub(mul(first, cos), mul(second, sin)), add(mul(first, sin), mul(second, cos))];
  const joined = reshape(concat(parts.map((p) => unsqueeze(p, axis)), axis), pairs.shape);
  const y = turned === width ? joined : concat([joined, narrow(x, 3, turned, width)], 3);
  return input.rank === 3 ? fromHeads(y) : y;
};

export const attentions: Readonly<Record<string, Operator>> = {
  Attention: attentionOf,
  RotaryEmbedding: rotary,
};

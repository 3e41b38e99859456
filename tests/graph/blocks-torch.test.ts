import { expect, test } from 'vitest';
import { checkpoint, vjp } from '../../src/graph/grad.js';
import { gelu, quickGelu, silu } from '../../src/graph/ops/activation.js';
import { add, mul } from '../../src/graph/ops/arithmetic.js';
import { attention } from '../../src/graph/ops/attention.js';
import { conv2d } from '../../src/graph/ops/conv.js';
import { reshape, split, transpose } from '../../src/graph/ops/layout.js';
import { linear } from '../../src/graph/ops/matmul.js';
import { groupNorm, layerNorm } from '../../src/graph/ops/norm.js';
import { input, literal } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';
import { readFixture, relativeError, under } from './fixture.js';

/** The parameter of that name, or undefined. */
type Parameters = (name: string) => Tensor | undefined;
type Inputs = Record<string, Tensor>;

const at = (p: Parameters, path: string): Parameters => (name) => p(`${path}.${name}`);
const convAt = (x: Tensor, p: Parameters, padding: number): Tensor => conv2d(x, p('weight')!, p('bias'), { padding });
const layer = (x: Tensor, p: Parameters): Tensor => layerNorm(x, p('weight')!, p('bias')!, 1e-5);
const group = (x: Tensor, groups: number, p: Parameters, epsilon: number): Tensor =>
  groupNorm(x, groups, p('weight')!, p('bias')!, epsilon);

/** A linear layer, with a LoRA of factor alpha/rank if it has one. */
function project(x: Tensor, p: Parameters, factor = 0): Tensor {
  if (p('weight')) return linear(x, p('weight')!, p('bias'));
  const base = linear(x, p('base_layer.weight')!, p('base_layer.bias'));
  const down = linear(x, p('lora_A.default.weight')!);
  return add(base, mul(linear(down, p('lora_B.default.weight')!), factor));
}

/** [B, N, C] → [B, heads, N, C/heads] */
const divide = (x: Tensor, heads: number): Tensor =>
  transpose(reshape(x, [x.shape[0]!, x.shape[1]!, heads, x.shape[2]! / heads]), [0, 2, 1, 3]);
/** [B, heads, N, D] → [B, N, heads·D] */
const unite = (x: Tensor): Tensor =>
  reshape(transpose(x, [0, 2, 1, 3]), [x.shape[0]!, x.shape[2]!, x.shape[1]! * x.shape[3]!]);

interface AttendOptions {
  out: string;
  factor?: number;
  mask?: Tensor;
}

function attend(x: Tensor, context: Tensor, p: Parameters, heads: number, options: AttendOptions): Tensor {
  const { out, factor, mask } = options;
  const q = divide(project(x, at(p, 'to_q'), factor), heads);
  const k = divide(project(context, at(p, 'to_k'), factor), heads);
  const v = divide(project(context, at(p, 'to_v'), factor), heads);
  return project(unite(attention(q, k, v, mask ? { mask } : {})), at(p, out), factor);
}

function resnet(x: Tensor, p: Parameters, groups: number, epsilon: number, time?: Tensor): Tensor {
  let h = convAt(silu(group(x, groups, at(p, 'norm1'), epsilon)), at(p, 'conv1'), 1);
  if (time) h = add(h, reshape(project(silu(time), at(p, 'time_emb_proj')), [h.shape[0]!, h.shape[1]!, 1, 1]));
  h = convAt(silu(group(h, groups, at(p, 'norm2'), epsilon)), at(p, 'conv2'), 1);
  return add(p('conv_shortcut.weight') ? convAt(x, at(p, 'conv_shortcut'), 0) : x, h);
}

function transformer(x: Tensor, context: Tensor, p: Parameters): Tensor {
  const options = { out: 'to_out.0', factor: 8 / 4 };
  const n1 = layer(x, at(p, 'norm1'));
  const h1 = add(x, attend(n1, n1, at(p, 'attn1'), 4, options));
  const h2 = add(h1, attend(layer(h1, at(p, 'norm2')), context, at(p, 'attn2'), 4, options));
  const wide = project(layer(h2, at(p, 'norm3')), at(p, 'ff.net.0.proj'));
  const half = wide.shape[2]! / 2;
  const [value, gate] = split(wide, [half, half], -1) as [Tensor, Tensor];
  return add(h2, project(mul(value, gelu(gate)), at(p, 'ff.net.2')));
}

function clipLayer(x: Tensor, p: Parameters, activation: (t: Tensor) => Tensor, mask?: Tensor): Tensor {
  const attn: Parameters = (name) => p(`self_attn.${name.replace('to_', '').replace(/^(.)\./, '$1_proj.')}`);
  const n1 = layer(x, at(p, 'layer_norm1'));
  const h = add(x, attend(n1, n1, attn, 4, { out: 'out_proj', ...(mask ? { mask } : {}) }));
  return add(h, project(activation(project(layer(h, at(p, 'layer_norm2')), at(p, 'mlp.fc1'))), at(p, 'mlp.fc2')));
}

function vaeMiddle(x: Tensor, p: Parameters): Tensor {
  const h = resnet(x, at(p, 'resnets.0'), 4, 1e-6);
  const attn = at(p, 'attentions.0');
  const [b, c] = h.shape as [number, number];
  const tokens = transpose(reshape(group(h, 4, at(attn, 'group_norm'), 1e-6), [b, c, -1]), [0, 2, 1]);
  const back = transpose(attend(tokens, tokens, attn, 1, { out: 'to_out.0' }), [0, 2, 1]);
  return resnet(add(h, reshape(back, h.shape)), at(p, 'resnets.1'), 4, 1e-6);
}

/** −∞ above the diagonal of [n, n]. */
const causal = (n: number): Tensor =>
  literal(Array.from({ length: n * n }, (_, i) => (i % n > Math.floor(i / n) ? -Infinity : 0)), [n, n]);

const BLOCKS: Record<string, (i: Inputs, p: Parameters) => Tensor> = {
  resnet_block: (i, p) => resnet(i['x']!, p, 8, 1e-5, i['temb']),
  transformer_block_lora: (i, p) => transformer(i['x']!, i['context']!, p),
  clip_text_layer: (i, p) => clipLayer(i['x']!, p, quickGelu, causal(i['x']!.shape[1]!)),
  clip_vision_layer: (i, p) => clipLayer(i['x']!, p, gelu),
  vae_mid_block: (i, p) => vaeMiddle(i['x']!, p),
};

test.each(Object.keys(BLOCKS))('%s agrees with PyTorch: values to 1e-5, gradients to 1e-4', async (name) => {
  const { tensors } = await readFixture(`engine_${name}`);
  const leaves = new Map([...tensors].filter(([k]) => /^(in|param)\./.test(k)).map(([k, v]) => [k, input(k, v.shape)]));
  const inputs = Object.fromEntries([...leaves].filter(([k]) => k.startsWith('in.')).map(([k, t]) => [k.slice(3), t]));
  const block = (): Tensor => BLOCKS[name]!(inputs, (key) => leaves.get(`param.${key}`));
  const y = block();
  const cotangent = input('cotangent.y', y.shape);
  const outputs: Record<string, Tensor> = { 'out.y': y };
  const gradients = [...under(tensors, 'grad.').keys()];
  const by = gradients.map((k) => leaves.get(k)!);
  vjp([y], by, [cotangent]).forEach((g, i) => (outputs[`grad.${gradients[i]!}`] = g));
  // Checkpointed, with everything captured and nothing given.
  vjp(checkpoint(() => [block()], []), by, [cotangent]).forEach((g, i) => (outputs[`again.${gradients[i]!}`] = g));
  const executable = await compile({ outputs });
  const feeds = [...tensors].filter(([k]) => leaves.has(k) || k === 'cotangent.y');
  const found = await executable.run(Object.fromEntries(feeds));
  await executable.release();
  expect(relativeError(found['out.y']!, tensors.get('out.y')!)).toBeLessThan(1e-5);
  expect(gradients.length).toBe(leaves.size);
  for (const key of gradients) {
    const expected = tensors.get(`grad.${key}`)!;
    // Softmax does not see what all keys share: the gradient by their bias is zero but for rounding.
    const like = key.replace(/to_k\.bias$/, 'to_v.bias').replace(/k_proj\.bias$/, 'v_proj.bias');
    const scale = tensors.get(`grad.${like}`)!;
    expect(relativeError(found[`grad.${key}`]!, expected, scale), key).toBeLessThan(1e-4);
    expect(relativeError(found[`again.${key}`]!, expected, scale), key).toBeLessThan(1e-4);
  }
});

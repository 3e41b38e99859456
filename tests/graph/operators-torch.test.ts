import { describe, expect, test } from 'vitest';
import { isFloat } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { vjp } from '../../src/graph/grad.js';
import * as a from '../../src/graph/ops/activation.js';
import * as m from '../../src/graph/ops/arithmetic.js';
import { attention } from '../../src/graph/ops/attention.js';
import { conv2d, convTranspose2d } from '../../src/graph/ops/conv.js';
import { cumSum } from '../../src/graph/ops/cumulative.js';
import { addAlong, embedding, takeAlong } from '../../src/graph/ops/gather.js';
import { pad, reshape } from '../../src/graph/ops/layout.js';
import * as n from '../../src/graph/ops/norm.js';
import * as p from '../../src/graph/ops/pool.js';
import * as r from '../../src/graph/ops/reduce.js';
import { resize } from '../../src/graph/ops/resize.js';
import type { ResizeMode } from '../../src/graph/ops/resize.js';
import { full, input, literal } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';
import { readFixture, relativeError, under } from './fixture.js';

// The fixtures' metadata: attributes under PyTorch's names.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Attributes = Record<string, any>;
type Inputs = Record<string, Tensor>;

const pool = (o: Attributes) => ({
  kernel: o['kernel_size'], stride: o['stride'], padding: o['padding'],
  ceil: o['ceil_mode'], countPadding: o['count_include_pad'],
});
const both = (v: number | [number, number] = 0): [number, number] => (typeof v === 'number' ? [v, v] : v);

/** PyTorch's operators, of x and the other inputs. */
const OPERATORS: Record<string, (x: Tensor, i: Inputs, o: Attributes) => Tensor> = {
  interpolate: (x, _i, { size, mode, antialias }) => {
    const modes: Record<string, ResizeMode> = { bilinear: 'linear', bicubic: 'cubic' };
    return resize(x, size, { mode: modes[mode] ?? mode, antialias });
  },
  conv2d: (x, i, { pads, ...o }) => conv2d(x, i['weight']!, i['bias'], { padding: pads, ...o }),
  conv_transpose2d: (x, i, { output_padding, ...o }) => {
    const size = [0, 1].map((k) => {
      const [s, d, p0] = [both(o['stride'] ?? 1)[k]!, both(o['dilation'] ?? 1)[k]!, both(o['padding'])[k]!];
      const reach = d * (i['weight']!.shape[2 + k]! - 1) + 1;
      return (x.shape[2 + k]! - 1) * s + reach - 2 * p0 + (output_padding ?? 0);
    });
    return convTranspose2d(x, i['weight']!, i['bias'], { ...o, outputSize: size as [number, number] });
  },
  group_norm: (x, i, { groups, eps }) => n.groupNorm(x, groups, i['weight']!, i['bias']!, eps),
  layer_norm: (x, i, { axes, eps }) => {
    if (axes.length === 1) return n.layerNorm(x, i['weight']!, i['bias'], eps);
    const size = x.shape[1]! * x.shape[2]!;
    return reshape(n.layerNorm(reshape(x, [-1, size]), full([size], 1), undefined, eps), x.shape);
  },
  rms_norm: (x, i, { eps }) => n.rmsNorm(x, i['weight']!, eps),
  batch_norm: (x, i, { training, eps }) => {
    const axes = [0, 2, 3];
    const [mu, variance] = training ? [r.mean(x, { axes }), r.variance(x, { axes })] : [i['mean']!, i['variance']!];
    return n.batchNorm(x, i['weight']!, i['bias']!, mu, variance, eps);
  },
  normalize: (x, _i, { axis, eps }) => n.normalize(x, axis, eps),
  clamp: (x, _i, o) => m.clip(x, o['min'], o['max']), cos: m.cos, sin: m.sin, erf: m.erf, exp: m.exp, log: m.log,
  sigmoid: m.sigmoid, logsigmoid: m.logSigmoid, softplus: m.softplus, tanh: m.tanh, rsqrt: m.rsqrt,
  pow: (x, i) => m.pow(x, i['exponent']!), mish: (x) => m.mul(x, m.tanh(m.softplus(x))),
  elu: (x) => a.elu(x), gelu_erf: a.gelu, gelu_tanh: a.geluTanh, silu: a.silu,
  hardsigmoid: (x) => a.hardSigmoid(x), hardswish: a.hardSwish,
  leaky_relu: (x, _i, { slope }) => a.leakyRelu(x, slope), quick_gelu: a.quickGelu, relu: a.relu, relu6: a.relu6,
  softmax: (x) => a.softmax(x, 1), log_softmax: (x) => a.logSoftmax(x, -1),
  logsumexp: (x) => r.logSumExp(x, { axes: x.rank === 3 ? [1, 2] : [-1] }), cumsum: (x) => cumSum(x, 1),
  variance: (x) => r.variance(x, { axes: [0, 2], correction: 1 }),
  variance_biased: (x) => r.variance(x, { axes: [0, 2] }), mean: (x) => r.mean(x, { axes: [0, 2] }),
  norm: (x) => r.norm(x, { axes: [-1] }), amax: (x) => r.max(x, { axes: [1, 2] }),
  avg_pool2d: (x, _i, o) => p.avgPool2d(x, pool(o)), max_pool2d: (x, _i, o) => p.maxPool2d(x, pool(o)),
  adaptive_avg_pool2d: (x, _i, o) => p.adaptiveAvgPool2d(x, o['output_size']),
  pad: (x, _i, { mode, left_right_top_bottom: [left, right, top, bottom] }) =>
    pad(x, [0, 0, top, left], [0, 0, bottom, right], mode === 'replicate' ? 'edge' : mode),
  embedding: (_x, i) => embedding(i['ids']!, i['weight']!),
  gather: (x, i, { axis }) => takeAlong(x, i['index']!, axis),
  scatter_add: (x, i, { axis }) => addAlong(x, i['index']!, i['src']!, axis),
  attention: (_x, i, { scale, causal }) => {
    const { q, k, v, mask } = i as Record<'q' | 'k' | 'v' | 'mask', Tensor>;
    const above = Array.from({ length: 49 }, (_, at) => (at % 7 > Math.floor(at / 7) ? -Infinity : 0));
    const given = mask?.dtype === 'bool' ? m.where(mask, 0, full([], -Infinity)) : mask;
    const bias = causal ? literal(above, [7, 7]) : given;
    return attention(q, k, v, { scale, ...(bias ? { mask: bias } : {}) });
  },
};

const FILES = ['resize', 'convolution', 'norm', 'elementwise', 'reduction', 'attention'];

describe.each(FILES)('PyTorch agrees: %s', (file) => {
  test('values to 1e-5, gradients to 1e-4', async () => {
    const { meta, tensors } = await readFixture<{ cases: Record<string, Attributes> }>(`engine_ops_${file}`);
    const outputs: Record<string, Tensor> = {};
    const expected: [name: string, limit: number, value: HostTensor][] = [];
    for (const [name, { op, ...attributes }] of Object.entries(meta.cases)) {
      const values = under(tensors, `${name}/in.`);
      const inputs = Object.fromEntries([...values].map(([k, v]) => [k, input(`${name}/in.${k}`, v.shape, v.dtype)]));
      const y = OPERATORS[op]!(inputs['x']!, inputs, attributes);
      const gradients = under(tensors, `${name}/grad.in.`);
      const by = [...values].filter(([k, v]) => isFloat(v.dtype) && gradients.has(k)).map(([k]) => k);
      const gs = vjp([y], by.map((k) => inputs[k]!), [input(`${name}/cotangent.y`, y.shape)]);
      outputs[`${name}/out.y`] = y;
      expected.push([`${name}/out.y`, 1e-5, tensors.get(`${name}/out.y`)!]);
      by.forEach((k, i) => {
        outputs[`${name}/grad.in.${k}`] = gs[i]!;
        expected.push([`${name}/grad.in.${k}`, 1e-4, gradients.get(k)!]);
      });
    }
    const executable = await compile({ outputs });
    const found = await executable.run(Object.fromEntries([...tensors].filter(([k]) => /\/(in|cotangent)\./.test(k))));
    await executable.release();
    const wrong = expected.map(([name, limit, value]) => ({ name, limit, error: relativeError(found[name]!, value) }))
      .filter(({ limit, error }) => !(error < limit));
    expect(wrong).toEqual([]);
    expect(expected.length).toBeGreaterThan(9);
  });
});

import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { conv } from '../../src/nn/conv.js';
import { linear } from '../../src/nn/linear.js';
import { unetLora } from '../../src/models/families/unet.js';
import { loraAdapter, loraParameters, planByTargets } from '../../src/nn/lora.js';
import { initialLora, loraToFile, mergeLora } from '../../src/nn/lora-values.js';
import { frozenWeights, rootScope } from '../../src/nn/scope.js';
import { normal } from '../../src/random/random.js';
import { compile } from '../../src/runtime/compile.js';

test('targets are ends of paths in whole segments', () => {
  const block = 'unet.down_blocks.0.attentions.0.transformer_blocks.0';
  const planned = planByTargets({ rank: 4, targets: unetLora.attention });
  expect(planned(`${block}.attn1.to_q`)).toEqual({ rank: 4, factor: 1 });
  expect(planned(`${block}.attn2.to_out.0`)).toEqual({ rank: 4, factor: 1 });
  expect(planned(`${block}.attn1.add_to_q`)).toBeUndefined();
  expect(planned(`${block}.ff.net.0.proj`)).toBeUndefined();
  const some = planByTargets({ rank: 16, alpha: 8, targets: ['attn2.to_*', 'conv1'] });
  expect(some(`${block}.attn2.to_v`)).toEqual({ rank: 16, factor: 0.5 });
  expect(some(`${block}.attn1.to_v`)).toBeUndefined();
  expect(some('unet.down_blocks.0.resnets.1.conv1')).toBeDefined();
  expect(planByTargets({ rank: 16, alpha: 8, rankStabilised: true, targets: unetLora.attention })('to_q')!.factor).toBe(2);
});

/** A linear layer and a strided convolution with an adapter on both. */
function model(targets: string[]) {
  const adapter = loraAdapter('a', planByTargets({ rank: 3, alpha: 6, targets }));
  const scope = rootScope(frozenWeights(), [adapter], 'net');
  const x = input('x', [2, 5]);
  const picture = input('picture', [1, 4, 6, 6]);
  const outputs = { y: linear(scope.at('first'), x, 7), z: conv(scope.at('second'), picture, 8, { stride: 2 }) };
  return { adapter, outputs };
}

const random = (name: string, shape: number[]): HostTensor =>
  host(normal({ seed: 1, stream: name, step: 0 }, 0, shape.reduce((a, b) => a * b, 1)), shape);
const WEIGHTS = new Map(Object.entries({
  'net.first.weight': [7, 5], 'net.first.bias': [7], 'net.second.weight': [8, 4, 3, 3], 'net.second.bias': [8],
}).map(([name, shape]) => [name, random(name, shape)]));
const INPUTS = { x: random('x', [2, 5]), picture: random('picture', [1, 4, 6, 6]) };

test('starts as A ~ N(0, 1/r²) and B = 0, from the path and the seed', () => {
  const { adapter } = model(['first', 'second']);
  expect([...loraParameters(adapter)].map(([name, t]) => [name, t.shape])).toEqual([
    ['a.net.first.down', [3, 5]], ['a.net.first.up', [7, 3]],
    ['a.net.second.down', [3, 4, 3, 3]], ['a.net.second.up', [8, 3, 1, 1]],
  ]);
  const values = initialLora(adapter, 7);
  expect(values.get('a.net.second.up')!.data.every((v) => Number(v) === 0)).toBe(true);
  const a = [...values.get('a.net.second.down')!.data].map(Number);
  const deviation = Math.sqrt(a.reduce((s, v) => s + v * v, 0) / a.length);
  expect(deviation).toBeGreaterThan(0.26);
  expect(deviation).toBeLessThan(0.4);
  const other = initialLora(model(['second']).adapter, 7);
  expect(other.get('a.net.second.down')!.data).toEqual(values.get('a.net.second.down')!.data);
  expect(initialLora(adapter, 8).get('a.net.second.down')!.data).not.toEqual(values.get('a.net.second.down')!.data);
  expect(() => initialLora(model(['nothing']).adapter, 7)).toThrow(/no layer of the model has one of the target names/);
});

test('acts like merged weights on linear layers and strided convolutions', async () => {
  const { adapter, outputs } = model(['first', 'second']);
  const values = initialLora(adapter, 7);
  for (const [name, t] of values) if (name.endsWith('.up')) values.set(name, random(name, [...t.shape]));
  const executable = await compile({ outputs }, { weights: WEIGHTS, threads: 1 });
  const scale = (s: number): Record<string, HostTensor> => ({ 'a.scale': host(new Float32Array([s]), []) });
  const adapted = await executable.run({ ...INPUTS, ...Object.fromEntries(values), ...scale(-0.7) });
  const off = await executable.run({ ...INPUTS, ...Object.fromEntries(values), ...scale(0) });
  const merged = await mergeLora(WEIGHTS, loraToFile(adapter, values, { metadata: {} }), -0.7, 'test');
  const plain = await compile({ outputs: model([]).outputs }, { weights: merged, threads: 1 });
  const expected = await plain.run(INPUTS);
  for (const key of ['y', 'z'] as const) {
    adapted[key].data.forEach((v, i) => expect(Number(v)).toBeCloseTo(Number(expected[key].data[i]), 4));
    expect(off[key].data).not.toEqual(adapted[key].data);
  }
  await Promise.all([executable.release(), plain.release()]);
});

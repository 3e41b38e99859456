import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { concat } from '../../src/graph/ops/layout.js';
import { input } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { compile } from '../../src/runtime/compile.js';
import { samplers } from '../../src/schedulers/index.js';
import { guide, splitGuided } from '../../src/schedulers/guidance.js';
import { sample } from '../../src/schedulers/sample.js';
import type { NoiseSource } from '../../src/schedulers/sample.js';
import { distance, sd15, wave } from './helpers.js';

const SIZE = 8;
const noise: NoiseSource = (step, item, count) => normal({ seed: 7, stream: 'latents', step }, item, count);
const denoise = (x: Float32Array): Float32Array => x.map((v) => Math.tanh(v));

const names = Object.keys(samplers) as (keyof typeof samplers)[];
test.each(names)('%s: an item does not depend on its batch', async (name) => {
  const plan = samplers[name].plan(name.startsWith('flow') ? { kind: 'rectified-flow', predictionType: 'flow' } : sd15().process, 5, { eta: 1 });
  const together = await sample(denoise, plan, noise, [3, 4, 5], SIZE);
  const alone = await sample(denoise, plan, noise, [4], SIZE);
  expect(alone).toEqual(together.slice(SIZE, 2 * SIZE));
  expect(alone).not.toEqual(together.slice(0, SIZE));
  expect(alone.every(Number.isFinite)).toBe(true);
});

test('steps are reported in order, with the clean prediction; the last sample is the result', async () => {
  const plan = samplers['dpm++2m'].plan(sd15().process, 4);
  const seen: number[] = [];
  let last = new Float32Array();
  const result = await sample(async (x) => denoise(x), plan, noise, [0], SIZE, ({ index, next: x, clean }) => {
    seen.push(index);
    last = new Float32Array(x);
    expect(clean.length).toBe(SIZE);
  });
  expect(seen).toEqual([0, 1, 2, 3]);
  expect(last).toEqual(result);
});

test('guidance mixes [uncond, cond] alike on arrays and on tensors', async () => {
  const shape = [2, 2, 2, 3];
  const data = wave(48, 1);
  const [uncond, cond] = splitGuided(input('both', [4, 2, 2, 3]));
  const scale = input('scale', []);
  const guided = guide(uncond, cond, scale);
  const exe = await compile({ outputs: {
    guided,
    joined: concat([uncond, cond], 0),
  } }, { threads: 1 });
  const run = (w: number) => exe.run({ both: host(data, [4, 2, 2, 3]), scale: host(Float32Array.of(w), []) });
  const got = await run(7.5);
  expect(got.joined.data).toEqual(data);
  const [u, c] = splitGuided(data);
  expect(got.guided.shape).toEqual(shape);
  expect(distance(got.guided.data, guide(u, c, 7.5))).toBeLessThan(1e-5);
  expect(distance(guide(u, c, 7.5), u.map((v, i) => v + 7.5 * (c[i]! - v)))).toBeLessThan(1e-5);
  expect(distance((await run(1)).guided.data, c)).toBe(0);
  expect(guide(u, c, 1)).toEqual(c);
  await exe.release();
});

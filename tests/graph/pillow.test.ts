import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { div, sub } from '../../src/graph/ops/arithmetic.js';
import { slice } from '../../src/graph/ops/layout.js';
import { resize } from '../../src/graph/ops/resize.js';
import type { ResizeMode } from '../../src/graph/ops/resize.js';
import { input, literal } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';
import { readFixture } from './fixture.js';

const MODES: Record<string, ResizeMode> = { bicubic: 'cubic', bilinear: 'linear', lanczos: 'lanczos', box: 'box' };

/** [H, W, 3] bytes → [1, 3, H, W] */
function planes({ data, shape }: HostTensor): HostTensor {
  const [h, w] = shape as [number, number];
  const area = h * w;
  const values = Float32Array.from({ length: 3 * area }, (_, i) => Number(data[(i % area) * 3 + Math.floor(i / area)]));
  return host(values, [1, 3, h, w]);
}

const differences = (found: HostTensor, expected: HostTensor): number[] =>
  Array.from(expected.data as Float32Array, (v, i) => Math.abs(Number(found.data[i]) - v));

test('Pillow agrees: exactly in floats, but for its rounding in bytes', async () => {
  type Meta = { cases: Record<string, { size: [number, number] }> };
  const { meta, tensors } = await readFixture<Meta>('engine_ops_pillow');
  const outputs: Record<string, Tensor> = {};
  const feeds: Record<string, HostTensor> = {};
  for (const [name, { size }] of Object.entries(meta.cases)) {
    if (name === 'clip') continue;
    feeds[name] = planes(tensors.get(`${name}/in.image`)!);
    const image = input(name, feeds[name].shape);
    for (const [pillow, mode] of Object.entries(MODES)) {
      outputs[`${name}/${pillow}`] = resize(image, size, { mode, antialias: true });
    }
    // CLIPImageProcessor: shortest edge to 32, the middle 32 × 32, normalised.
    if (name !== 'down') continue;
    const small = resize(image, [Math.trunc((32 * 90) / 61), 32], { mode: 'cubic', antialias: true });
    const top = Math.trunc((small.shape[2]! - 32) / 2);
    const row = (v: number[]): Tensor => literal(v.map((x) => 255 * x), [3, 1, 1]);
    const crop = slice(small, [0, 0, top, 0], [1, 3, top + 32, 32]);
    const [mean, deviation] = [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]];
    outputs['clip'] = div(sub(crop, row(mean!)), row(deviation!));
  }
  const executable = await compile({ outputs });
  const found = await executable.run(feeds);
  await executable.release();
  let compared = 0;
  for (const [key, expected] of tensors) {
    const [name, output] = key.split('/out.') as [string, string | undefined];
    if (!output) continue;
    compared += 1;
    if (name === 'clip') {
      // One grey level of 255 is 0.015 here. Pillow rounds twice, and cuts overshoots off.
      expect(Math.max(...differences(found['clip']!, expected)), key).toBeLessThan(0.04);
    } else if (output.endsWith('_float_red')) {
      const size = expected.data.length;
      const red = found[`${name}/${output.replace('_float_red', '')}`]!;
      const off = differences({ ...red, data: red.data.slice(0, size) as Float32Array }, expected);
      expect(Math.max(...off), key).toBeLessThan(255 * 1e-5);
    } else {
      const values = found[`${name}/${output}`]!.data as Float32Array;
      const rounded = values.map((v) => Math.min(255, Math.max(0, Math.round(v))));
      const off = differences(host(rounded, [rounded.length]), planes(expected));
      // Between its two passes Pillow rounds and cuts overshoots off, which shows near black and white.
      expect(off.filter((d) => d > 1).length / off.length, key).toBeLessThan(0.01);
      expect(off.reduce((most, d) => Math.max(most, d), 0), key).toBeLessThan(8);
    }
  }
  expect(compared).toBe(18);
});

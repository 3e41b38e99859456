import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { loraAdapter } from '../../src/nn/lora.js';
import { loraFromFile } from '../../src/nn/lora-values.js';

test('a file with another scale than the plan gives the same effect', () => {
  const adapter = loraAdapter('a', () => ({ rank: 1, factor: 2 }));
  adapter.linear('unet.conv_in', input('x', [1, 2]), 2);
  const down = host(Float32Array.of(1, 2), [1, 2]);
  const up = host(Float32Array.of(6, 8), [2, 1]);
  // diffusers' files have scale 1; a training with alpha 2 and rank 1 plans with 2.
  const folded = loraFromFile(adapter, { layers: new Map([['unet.conv_in', { down, up, alpha: 1 }]]), metadata: {} }, 'f');
  expect([...folded.values()].map(({ data }) => [...data as Float32Array])).toEqual([[1, 2], [3, 4]]);
  const same = loraFromFile(adapter, { layers: new Map([['unet.conv_in', { down, up, alpha: 2 }]]), metadata: {} }, 'f');
  expect([...same.values()].map(({ data }) => [...data as Float32Array])).toEqual([[1, 2], [6, 8]]);
});

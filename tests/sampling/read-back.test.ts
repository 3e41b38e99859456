import { expect, test } from 'vitest';
import { compareLoras, compareWeights, largestDifference } from '../../src/sampling/read-back.js';
import { padded } from '../../src/formats/lora-dialects/fold.js';
import { host } from '../../src/graph/dtype.js';
import type { LoraFile, LoraLayer } from '../../src/formats/lora.js';

const floats = (...values: number[]): Float32Array => Float32Array.from(values);
const lora = (layer: LoraLayer): LoraFile => ({ layers: new Map([['unet.conv_in', layer]]), metadata: {} });
const layer: LoraLayer = { down: host(floats(1, 2), [1, 2]), up: host(floats(3, 4), [2, 1]), alpha: 2 };

test.each([[NaN, NaN], [NaN, 1], [Infinity, Infinity], [-Infinity, 1]])('%s is not equal to %s', (wanted, found) => {
  expect(() => largestDifference('w', floats(0, wanted), floats(0, found), 'float32')).toThrow(/^w: holds (NaN|-?Infinity)/);
  const weights = (value: number) => new Map([['w', host(floats(value), [1])]]);
  expect(() => compareWeights(weights(wanted), weights(found), 'float32')).toThrow(/^w: holds/);
});

test.each([[1, NaN, 'OverflowError'], [1, Infinity, 'OverflowError'], [1, 2, 'ReadBackError']])(
  '%s read back as %s is an error', (wanted, found, name) => {
    expect(() => largestDifference('w', floats(wanted), floats(found), 'float16')).toThrow(
      expect.objectContaining({ name }) as Error);
  });

test('zeros that fill up to a higher rank change nothing, other numbers do', () => {
  const more = padded(layer, 3);
  expect([more.down.shape, more.up.shape, more.alpha]).toEqual([[3, 2], [2, 3], 6]);
  expect(compareLoras(lora(layer), lora(more))).toBe(0);
  (more.down.data as Float32Array)[4] = 1;
  expect(() => compareLoras(lora(layer), lora(more))).toThrow(/down: 1 was read back, not 0/);
});

import { expect, test } from 'vitest';
import { encoderFeatures, mapSpacePaths, openSpace } from '../../src/evaluation/spaces.js';
import { mean } from '../../src/graph/ops/reduce.js';
import { pictures } from '../rewards/helpers.js';

test('a space is named with its files, any other text is a folder', async () => {
  const replace = (path: string): string => `/root/${path}`;
  expect(mapSpacePaths('models/clip', replace)).toBe('/root/models/clip');
  expect(mapSpacePaths('dino', replace)).toBe('dino');
  expect(mapSpacePaths('inception?file=a&b.pth&resize=clean', replace)).toBe('inception?file=/root/a&b.pth&resize=clean');
  await expect(openSpace('inception', {})).rejects.toThrow('features: inception, option file is missing');
  await expect(openSpace('inception?fil=x', {})).rejects.toThrow('inception has no option "fil". Did you mean file?');
  await expect(openSpace('inception?file=/nowhere.pth', {})).rejects.toThrow('/nowhere.pth');
  await expect(openSpace('dreamsim?folder=/nowhere', {})).rejects.toThrow(/\/nowhere\/dino_vitbase16_pretrain\.pth: is not there/);
});

test('vectors of any number of images, whatever goes through the network together', async () => {
  const features = encoderFeatures({ weights: new Map(), embed: (images) => mean(images, { axes: [2, 3] }) }, {}, 2);
  const { shape, data } = await features.images(pictures(3));
  await features.release();
  expect(shape).toEqual([3, 3]);
  const plane = pictures(3).data.subarray(8 * 256, 9 * 256);
  expect(data[8]).toBeCloseTo(plane.reduce((a, b) => a + b) / 256, 5);
});

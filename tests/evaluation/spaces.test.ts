import { expect, test } from 'vitest';
import { encoderFeatures, mapSpacePaths, openSpace } from '../../src/evaluation/spaces.js';
import { mean } from '../../src/graph/ops/reduce.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPairDistance } from '../../src/evaluation/pair-distance.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { input } from '../../src/graph/tensor.js';
import { lpips } from '../../src/models/lpips.js';
import { weightShapes } from '../../src/nn/scope.js';
import { loadFixture } from '../models/fixture.js';
import { pictures } from '../rewards/helpers.js';
import { counterWeights } from './counter-weights.js';

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

test('any ONNX network is a space: rows as they are, maps by the mean over their positions', async () => {
  const resnet = join(import.meta.dirname, '..', 'fixtures', 'onnx_resnet_ts09.onnx');
  const features = await openSpace(`onnx?file=${resnet}&pixels=imagenet`, {});
  const { shape } = await features.images(pictures(3));
  await features.release();
  expect([shape[0], shape.length]).toEqual([3, 2]);
  expect(shape[1]).toBeGreaterThan(2);
  expect(mapSpacePaths('onnx?file=a.onnx&pixels=plain', (path) => `/root/${path}`)).toBe('onnx?file=/root/a.onnx&pixels=plain');
  await expect(openSpace('onnx?file=/nowhere.onnx', {})).rejects.toThrow('features: onnx, option pixels is missing');
  await expect(openSpace('onnx?file=/nowhere.onnx&pixels=plain', {})).rejects.toThrow('/nowhere.onnx');
});

test('LPIPS between pairs is that of the package, whatever goes through the network together', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'attune-lpips-'));
  const fixture = await loadFixture('measures_io');
  const [a, b] = [fixture.get('a'), fixture.get('b')];
  const x = input('x', a.shape);
  const weights = counterWeights(weightShapes((s) => lpips(s, 'alex', x, x)));
  const of = (lins: boolean) => [...weights].filter(([name]) => name.startsWith('lin') === lins);
  await writeSafetensors(join(folder, 'features.safetensors'), of(false));
  await writeSafetensors(join(folder, 'lins.safetensors'), of(true));
  const distance = await openPairDistance(`alex?features=${folder}/features.safetensors&lins=${folder}/lins.safetensors`, { threads: 1 });
  const found = await distance.distances(a, b);
  await distance.release();
  const expected = fixture.get('lpips_alex/distance').data[0] as number;
  expect(found).toEqual([expect.closeTo(expected, 4 - Math.ceil(Math.log10(expected)))]);

  await expect(openPairDistance(`alex?features=${folder}/lins.safetensors&lins=${folder}/lins.safetensors`, {})).rejects.toThrow(/lins\.safetensors: has no tensor "features.*belongs to alex/);
  await expect(openPairDistance('vggg?features=x&lins=y', {})).rejects.toThrow('evaluation.lpips: there is no trunk "vggg". Did you mean vgg?');
  await expect(openPairDistance('alex?features=x', {})).rejects.toThrow('evaluation.lpips: alex, option lins is missing');
  await rm(folder, { recursive: true });
});

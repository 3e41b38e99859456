/** @file Inception, LPIPS, DreamSim and DINO against pytorch-fid, lpips, dreamsim and transformers; FID and KID of rows. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { frechetDistance, gaussianStatistics } from '../../src/evaluation/frechet.js';
import { fewImagesText, frechetInfinity, kernelDistance } from '../../src/evaluation/kid.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor, Shape } from '../../src/graph/dtype.js';
import { grad } from '../../src/graph/grad.js';
import { mul, sub } from '../../src/graph/ops/arithmetic.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { inceptionFeatures } from '../../src/models/inception.js';
import { lpips, LPIPS_TRUNKS } from '../../src/models/lpips.js';
import type { LpipsTrunk } from '../../src/models/lpips.js';
import { frozenWeights, rootScope, weightShapes } from '../../src/nn/scope.js';
import { normal } from '../../src/random/random.js';
import { dinoEncoder, dreamSim } from '../../src/rewards/encoders.js';
import { compile } from '../../src/runtime/compile.js';
import { loadFixture, maxError } from '../models/fixture.js';
import type { Fixture } from '../models/fixture.js';
import { counter, counterWeight, counterWeights } from './counter-weights.js';

let fixture: Fixture;
let folder: string;
beforeAll(async () => {
  fixture = await loadFixture('measures_io');
  folder = await mkdtemp(join(tmpdir(), 'attune-measures-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Compares a function of picture a with a fixture's value and gradient. */
async function compare(trace: (a: Tensor) => Tensor, weights: ReadonlyMap<string, HostTensor>, key: string, gradient: string | null, feeds: Record<string, HostTensor> = {}, most = 1e-3): Promise<void> {
  const a = input('a', fixture.get('a').shape);
  const value = trace(a);
  const outputs = { value, gradient: gradient === null ? value : grad(sum(value), [a])[0]! };
  const run = await compile({ outputs }, { weights, threads: 1 });
  const result = await run.run({ a: fixture.get('a'), ...feeds });
  await run.release();
  const relative = (x: HostTensor, name: string): number => {
    const expected = fixture.get(name);
    return maxError(x, expected) / Math.max(...Array.from(expected.data as Float32Array, Math.abs));
  };
  expect(relative(result.value, key)).toBeLessThan(1e-4);
  if (gradient !== null) expect(relative(result.gradient, gradient)).toBeLessThan(most);
}

test('the features of Inception are those of pytorch-fid', async () => {
  const scope = rootScope(frozenWeights());
  const shapes = weightShapes((s) => inceptionFeatures(s, input('x', [1, 3, 299, 299])));
  expect(shapes.size).toBe(94 * 5);
  await compare((a) => inceptionFeatures(scope, a), counterWeights(shapes), 'inception/features', 'inception/gradient', {},
    1.5e-2); // its maxima lie so near to each other that PyTorch in float32 is 9e-3 away itself
});

test.each(Object.keys(LPIPS_TRUNKS) as LpipsTrunk[])('LPIPS on %s is that of the package', async (trunk) => {
  const [, , height, width] = fixture.get('a').shape as [number, number, number, number];
  const x = input('x', [1, 3, height, width]);
  const shapes = weightShapes((s) => lpips(s, trunk, x, x));
  await compare((a) => lpips(rootScope(frozenWeights()), trunk, a, input('b', a.shape)), counterWeights(shapes),
    `lpips_${trunk}/distance`, `lpips_${trunk}/gradient`, { b: fixture.get('b') });
});

const WIDTH = 64;
/** A vision transformer's tensors under the names of its file. */
function timmFile(name: string, patch: number, withNorm: boolean): Map<string, HostTensor> {
  const layer = (i: number): [string, Shape][] => [
    ['norm1.weight', [WIDTH]], ['norm1.bias', [WIDTH]], ['attn.qkv.weight', [3 * WIDTH, WIDTH]], ['attn.qkv.bias', [3 * WIDTH]],
    ['attn.proj.weight', [WIDTH, WIDTH]], ['attn.proj.bias', [WIDTH]], ['norm2.weight', [WIDTH]], ['norm2.bias', [WIDTH]],
    ['mlp.fc1.weight', [2 * WIDTH, WIDTH]], ['mlp.fc1.bias', [2 * WIDTH]], ['mlp.fc2.weight', [WIDTH, 2 * WIDTH]], ['mlp.fc2.bias', [WIDTH]],
  ].map(([key, shape]) => [`blocks.${i}.${key as string}`, shape as Shape]);
  const shapes: [string, Shape][] = [
    ['cls_token', [1, 1, WIDTH]], ['pos_embed', [1, (224 / patch) ** 2 + 1, WIDTH]], ['patch_embed.proj.weight', [WIDTH, 3, patch, patch]],
    ['patch_embed.proj.bias', [WIDTH]], ...Array.from({ length: 12 }, (_, i) => layer(i)).flat(), ['norm.weight', [WIDTH]], ['norm.bias', [WIDTH]],
    ...(withNorm ? [['pos_drop.weight', [WIDTH]], ['pos_drop.bias', [WIDTH]], ['proj', [WIDTH, 32]]] as [string, Shape][] : []),
  ];
  return new Map(shapes.map(([key, shape]) => [key, counterWeight(`${name}/${key}`, shape)]));
}

async function unpacked(type: string, lora: string, branches: readonly (readonly [file: string, name: string, patch: number])[]): Promise<string> {
  const at = join(folder, type);
  const put = async (path: string, tensors: Map<string, HostTensor>): Promise<void> => {
    await mkdir(dirname(join(at, path)), { recursive: true });
    await writeSafetensors(join(at, path), tensors);
  };
  const adapter = new Map<string, HostTensor>();
  for (const [i, [file, name, patch]] of branches.entries()) {
    await put(file, timmFile(name, patch, name !== 'dino_vitb16'));
    for (let block = 0; block < 12; block++) {
      for (const [side, shape] of [['A', [4, WIDTH]], ['B', [3 * WIDTH, 4]]] as const) {
        const key = `base_model.model.extractor_list.${i}.model.blocks.${block}.attn.qkv.lora_${side}.weight`;
        adapter.set(key, host(counter(key, shape).map((v) => v * Math.fround(0.3)), shape));
      }
    }
  }
  await put(`${lora}/adapter_model.safetensors`, adapter);
  await writeFile(join(at, lora, 'adapter_config.json'), JSON.stringify({ r: 4, lora_alpha: 6, target_modules: ['qkv'], lora_dropout: 0.3, bias: 'none' }));
  return at;
}

const DINO = ['dino_vitbase16_pretrain.pth', 'dino_vitb16', 16] as const;

describe('DreamSim', () => {
  test.each([
    ['ensemble', 'ensemble_lora', [DINO, ['clip_vitb16_pretrain.pth.tar', 'clip_vitb16', 16], ['open_clip_vitb16_pretrain.pth.tar', 'open_clip_vitb16', 16]]],
    ['dino_vitb16', 'dino_vitb16_single_lora', [DINO]],
    ['clip_vitb32', 'clip_vitb32_single_lora', [['clip_vitb32_pretrain.pth.tar', 'clip_vitb32', 32]]],
  ] as const)('%s gives the distances of the package', async (type, lora, branches) => {
    const encoder = await dreamSim('d', await unpacked(type, lora, branches), type);
    await compare((a) => sub(1, sum(mul(encoder.embed(a), encoder.embed(input('b', a.shape))), { axes: [1] })), encoder.weights,
      `dreamsim_${type}/distance`, `dreamsim_${type}/gradient`, { b: fixture.get('b') });
  });

  test('a folder that lacks a part says which and where to get it', async () => {
    const at = await unpacked('broken', 'dino_vitb16_single_lora', [DINO]);
    await expect(dreamSim('d', at, 'clip_vitb32')).rejects.toThrow(/clip_vitb32_pretrain\.pth\.tar: is not there\. Unpack dreamsim_clip_vitb32_checkpoint\.zip/);
    await writeFile(join(at, 'dino_vitb16_single_lora', 'adapter_config.json'), '{"r": "many"}');
    await expect(dreamSim('d', at, 'dino_vitb16')).rejects.toThrow(/adapter_config\.json: is not the configuration of a plain LoRA/);
    await rm(join(at, 'dino_vitbase16_pretrain.pth'));
    await expect(dreamSim('d', at, 'dino_vitb16')).rejects.toThrow(/dino_vitbase16_pretrain\.pth: is not there.*the archive does not hold it/);
  });
});

test('DINO of the hub gives the class token of transformers', async () => {
  const shapes = Object.entries(fixture.meta['dino'] as Record<string, number[]>);
  await writeSafetensors(join(folder, 'model.safetensors'), counterWeights(new Map(shapes)));
  const encoder = await dinoEncoder('dino', join(folder, 'model.safetensors'));
  await compare((a) => encoder.embed(a), encoder.weights, 'dino/features', null);
});

describe('distances of sets', () => {
  test('Fréchet by pytorch-fid, KID by its definition', () => {
    const [x, y] = [fixture.get('rows/x'), fixture.get('rows/y')];
    expect(frechetDistance(gaussianStatistics(x), gaussianStatistics(y))).toBeCloseTo(fixture.get('rows/fid').data[0] as number, 3);
    expect(kernelDistance(x, y)).toBeCloseTo(fixture.get('rows/kid').data[0] as number, 5);
  });

  const rows = (seed: number, count: number, width = 16): HostTensor => host(normal({ seed, stream: 'kid', step: 0 }, 0, count * width), [count, width]);

  test('between two sets of one kind KID is about 0 and the Fréchet distance of few is not; FID∞ takes most of that off', () => {
    const [a, b] = [rows(1, 120), rows(2, 120)];
    const plain = frechetDistance(gaussianStatistics(a), gaussianStatistics(b));
    expect(plain).toBeGreaterThan(0.6);
    expect(Math.abs(frechetInfinity(a, b))).toBeLessThan(plain / 3);
    expect(Math.abs(kernelDistance(a, rows(3, 200)))).toBeLessThan(0.03);
    expect(() => kernelDistance(a, host(new Float32Array(8), [1, 8]))).toThrow('KID of features');
    expect(() => kernelDistance(a, rows(3, 200), { paired: true })).toThrow('pairs of one number');
  });

  test('of pairs of one noise: 0 for the same images, unbiased for others where the plain estimate is not', () => {
    const a = rows(4, 60);
    expect([kernelDistance(a, a, { paired: true }), frechetInfinity(a, a)].map((x) => Math.abs(x) < 1e-6)).toEqual([true, true]);
    // Half of each row is the other's: the sets are of one kind, the pairs are not independent.
    const [paired, plain] = [true, false].map((how) => {
      const all = Array.from({ length: 40 }, (_, seed) => {
        const [x, y] = [rows(10 + seed, 30, 4), rows(100 + seed, 30, 4)];
        const mixed = Float32Array.from(x.data as Float32Array, (v, i) => Math.SQRT1_2 * (v + (y.data[i] as number)));
        return kernelDistance(x, host(mixed, x.shape), { paired: how });
      });
      const mean = all.reduce((s, v) => s + v, 0) / all.length;
      return mean / (Math.sqrt(all.reduce((s, v) => s + (v - mean) ** 2, 0)) / all.length);
    });
    expect(Math.abs(paired!)).toBeLessThan(3);
    expect(plain!).toBeLessThan(-5);
  });

  test('unit vectors are as far apart as rows of their length times √D', () => {
    const unit = ({ data, shape }: HostTensor, length: number): HostTensor => {
      const width = shape[1]!;
      return host(Float32Array.from(data as Float32Array, (v, i) => {
        const row = (data as Float32Array).subarray(i - (i % width), i - (i % width) + width);
        return (length * v) / Math.hypot(...row);
      }), shape);
    };
    const [a, b] = [rows(5, 30), host((rows(6, 30).data as Float32Array).map((v) => v + 1), [30, 16])];
    expect(kernelDistance(unit(a, 1), unit(b, 1))).toBeCloseTo(kernelDistance(unit(a, 4), unit(b, 4)), 4);
    expect(kernelDistance(unit(a, 1), unit(b, 1))).toBeGreaterThan(0.5);
  });

  test('few images are told what that means', () => {
    expect(fewImagesText(32, 768)).toMatch(/32 images cannot fill a space of 768 dimensions/);
    expect(fewImagesText(1000, 768)).toMatch(/of 1000 images it is too large by an amount that falls as 1\/1000.*nor has Fréchet∞/);
    expect(fewImagesText(2048, 2048)).not.toBeNull();
    expect(fewImagesText(10_000, 2048)).toBeNull();
  });
});

import { describe, expect, test } from 'vitest';
import { checkReward } from '../../src/evaluation/reward-check/check.js';
import { DISTURBANCES } from '../../src/evaluation/reward-check/disturbances.js';
import { findings, renderRewardCheck } from '../../src/evaluation/reward-check/page.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { add, mul } from '../../src/graph/ops/arithmetic.js';
import { mean } from '../../src/graph/ops/reduce.js';
import { stopGradient } from '../../src/graph/grad.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { pixelReward } from '../../src/rewards/reward.js';
import type { Reward } from '../../src/rewards/reward.js';
import { uniform } from '../../src/random/random.js';

const SIDE = 12;
/** Smooth pictures, each of its own colours. */
const pictures = Array.from({ length: 6 }, (_, i) => {
  const u = uniform({ seed: i, stream: 'pictures', step: 0 }, 0, 6);
  const data = Float32Array.from({ length: 3 * SIDE * SIDE }, (__, k) => {
    const c = Math.floor(k / (SIDE * SIDE));
    return 0.15 + 0.35 * u[c]! + 0.3 * u[3 + c]! * ((k % SIDE) / SIDE);
  });
  return { label: `p${i}`, prompt: `prompt ${Math.floor(i / 2)}`, image: host(data, [3, SIDE, SIDE]) };
});

/** The mean of the pixels' squares. */
const brightness = pixelReward({
  name: 'brightness', description: 'mean square', range: [0, 1], trace: (images) => mean(mul(images, images), { axes: [1, 2, 3] }),
});

describe('a differentiable reward', () => {
  test('has its scale, slopes, sensitivities and climb told, as numbers', async () => {
    const check = await checkReward(brightness, pictures, { steps: 4 });
    const squares = pictures.map(({ image }) => (image.data as Float32Array).reduce((s, v) => s + v * v, 0) / image.data.length);
    squares.forEach((s, i) => expect(check.scores[i]).toBeCloseTo(s, 5));
    expect(check.gradient!.error).toBeLessThan(0.01);
    expect(check.otherPrompt!.size).toBe(0);
    expect(check.betweenPrompts).toBeGreaterThan(0);
    // Each pixel up by 8 levels: the mean square rises by 2·mean·ε + ε², for the four pictures that are climbed.
    const [small, large] = check.hacked;
    expect(small!.scores).toHaveLength(5);
    const e = 8 / 255;
    const risen = large!.before.map(({ data }) => (data as Float32Array).reduce((s, v) => s + (v + e) ** 2, 0) / data.length);
    expect(Math.max(...large!.scores)).toBeCloseTo(risen.reduce((a, b) => a + b, 0) / risen.length, 4);
    expect(Math.abs(large!.byChance - large!.scores[0]!)).toBeLessThan(0.2 * (large!.scores.at(-1)! - large!.scores[0]!));
    for (const [i, after] of large!.after.entries()) {
      const furthest = Math.max(...Array.from(after.data as Float32Array, (v, k) => Math.abs(v - (large!.before[i]!.data[k] as number))));
      expect(furthest).toBeLessThanOrEqual(e + 1e-6);
    }
    const jpeg = check.disturbed.find((d) => d.name === 'JPEG')!;
    expect(Math.abs(jpeg.change.mean)).toBeLessThan(0.1 * check.deviation);
    expect(jpeg.rank).toBeGreaterThan(0.9);
  });

  test('whose gradient is wrong is told to be', async () => {
    const half = pixelReward({
      name: 'half', description: 'of which the gradient sees one half', range: [0, 1],
      trace: (images) => mean(mul(add(images, stopGradient(images)), add(images, stopGradient(images))), { axes: [1, 2, 3] }),
    });
    const check = await checkReward(half, pictures, { steps: 2 });
    expect(check.gradient!.error).toBeGreaterThan(0.4);
    expect(findings(check).join(' ')).toMatch(/gradient is off/);
  });
});

test('a black box has no gradient and no climb, which is said; other rewards are of use as they are', async () => {
  const box: Reward = {
    name: 'box', description: 'prompt length and red', range: [0, 9], differentiable: false,
    score: async (images, prompts) => Float32Array.from(prompts, (p, i) => p.length + (images.data as Float32Array)[i * 3 * SIDE * SIDE]!),
  };
  const check = await checkReward(box, pictures.map((p, i) => ({ ...p, prompt: 'x'.repeat(1 + (i % 3)) })));
  expect([check.gradient, check.hacked]).toEqual([null, []]);
  const text = await renderRewardCheck(check, 'Six pictures.', []);
  expect(text).toContain('black box: it has no gradient');
  expect(text).not.toMatch(/NaN|undefined|How easily/);
  expect(findings(check).join(' ')).toMatch(/black box.*Another picture's prompt changes/);
  const reward = await openRewards([parseReward('jpeg-compressibility')]);
  expect((await checkReward(reward, pictures, { steps: 1 })).scores).toHaveLength(6);
});

test('a page of a reward that says the same of all is whole too, and names are escaped', async () => {
  const flat = pixelReward({ name: 'flat', description: '<b>flat</b>', range: [0, 1], trace: (images) => mul(mean(images, { axes: [1, 2, 3] }), 0) });
  const text = await renderRewardCheck(await checkReward(flat, pictures.map((p) => ({ ...p, label: '<i>' })), { steps: 1 }), '<u>', [['a', '<s>']]);
  expect(text).toContain('nothing to learn from it');
  expect(text).not.toMatch(/NaN|undefined|Infinity|<b>flat|<i>|<u>|<s>/);
});

test('disturbances leave size and range, and little else of the same as it was', async () => {
  const { image } = pictures[0]!;
  const from = image.data as Float32Array;
  for (const { name, apply } of DISTURBANCES) {
    const out: HostTensor = await apply(image, 0);
    expect(out.shape, name).toEqual(image.shape);
    const data = out.data as Float32Array;
    expect(data.every((v) => v >= 0 && v <= 1), name).toBe(true);
    expect(data.some((v, i) => Math.abs(v - from[i]!) > 1e-3), name).toBe(true);
    expect(Math.max(...Array.from(data, (v, i) => Math.abs(v - from[i]!))), name).toBeLessThan(0.3);
  }
});

import { describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { log, mul, sqrt } from '../../src/graph/ops/arithmetic.js';
import { mean } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import { color } from '../../src/rewards/color.js';
import { openGradient } from '../../src/rewards/gradient.js';
import { pixelReward, RewardError } from '../../src/rewards/reward.js';
import type { BlackBoxReward, DifferentiableReward, Reward } from '../../src/rewards/reward.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { weightedSum } from '../../src/rewards/weighted.js';
import { checkGradient, pictures } from './helpers.js';

/** mean(image) · (length of the prompt): which prompt an image is scored with shows in its score. */
const promptLength: DifferentiableReward = {
  name: 'prompt-length', description: '', range: [0, 10], differentiable: true, weights: new Map(),
  trace: (images) => mul(mean(images, { axes: [1, 2, 3] }), input(`lengths${images.shape[0]}`, [images.shape[0]!])),
  async feeds(prompts) {
    return { [`lengths${prompts.length}`]: host(Float32Array.from(prompts, (p) => p.length), [prompts.length]) };
  },
};

const blackBox = (score: BlackBoxReward['score']): BlackBoxReward =>
  ({ name: 'box', description: '', range: [0, 1], differentiable: false, score });
const means = blackBox(async (images, prompts) => {
  const data = images.data as Float32Array;
  const size = data.length / prompts.length;
  const rows = prompts.map((_, i) => data.subarray(i * size, (i + 1) * size));
  return Float32Array.from(rows, (row) => row.reduce((a, b) => a + b, 0) / size);
});

const images5 = pictures(5, 8);
const prompts5 = ['a', 'ab', 'abc', 'abcd', 'abcde'];
const scoreOf = (reward: Reward): Promise<Float32Array> => openScorer(reward).score(images5, prompts5);

describe('scorer', () => {
  test('scores each image with its own prompt, whatever the batch and the order', async () => {
    const plain = await openScorer(means).score(images5, prompts5);
    const expected = plain.map((m, i) => m * prompts5[i]!.length);
    for (const batch of [1, 2, 5, 8]) {
      const scores = await openScorer(promptLength, { batch }).score(images5, prompts5);
      scores.forEach((s, i) => expect(s).toBeCloseTo(expected[i]!, 5));
    }
    const order = [3, 0, 4, 2, 1];
    const size = images5.data.length / 5;
    const shuffled = new Float32Array(images5.data.length);
    order.forEach((from, to) => shuffled.set(images5.data.subarray(from * size, (from + 1) * size), to * size));
    const scorer = openScorer(promptLength, { batch: 2 });
    const scores = await scorer.score(host(shuffled, images5.shape), order.map((i) => prompts5[i]!));
    order.forEach((from, to) => expect(scores[to]).toBeCloseTo(expected[from]!, 5));
    // The images in another order than their prompts are other pairs, and score otherwise.
    const mismatched = await scorer.score(host(shuffled, images5.shape), prompts5);
    order.forEach((from, to) => expect(mismatched[to]).toBeCloseTo(plain[from]! * prompts5[to]!.length, 5));
  });

  test('counts each image once, padding and failures not at all', async () => {
    const sum = weightedSum([{ reward: color('a', 'red') }, { reward: color('b', 'blue') }]);
    const scorer = openScorer(sum, { batch: 4 });
    expect(scorer.queries).toBe(0);
    await scorer.score(images5, prompts5);
    await scorer.score(pictures(1, 8), ['x']);
    await scorer.score(pictures(2, 16), ['x', 'y']);
    expect(scorer.queries).toBe(8);
    await expect(scorer.score(images5, ['one'])).rejects.toThrow(RewardError);
    expect(scorer.queries).toBe(8);
    await scorer.release();
  });

  test('names the reward when it gets or gives what it must not', async () => {
    const image = host(new Float32Array(48), [3, 4, 4]);
    await expect(openScorer(means).score(images5, ['a'])).rejects.toThrow('reward box got 5 images with 1 prompts');
    await expect(openScorer(means).score(image, [])).rejects.toThrow('box scores images of');
    const returning = (scores: unknown): Promise<Float32Array> => scoreOf(blackBox(async () => scores as Float32Array));
    await expect(returning(new Float32Array(3))).rejects.toThrow('box returned 3 scores; it must return one for each');
    await expect(returning([1, 2, 3, 4, 5])).rejects.toThrow('box returned object');
    await expect(returning(Float32Array.of(0, 0, NaN, 0, 0))).rejects.toThrow('box returned NaN for image 2 ("abc")');
    const traced = (name: string, trace: DifferentiableReward['trace']): Promise<Float32Array> =>
      scoreOf(pixelReward({ name, description: '', range: [0, 1], trace }));
    await expect(traced('wide', (x) => mean(x, { axes: [2, 3] }))).rejects.toThrow('wide is traced to float32[8, 3]');
    await expect(traced('infinite', (x) => log(mul(mean(x, { axes: [1, 2, 3] }), 0)))).rejects
      .toThrow('infinite returned -Infinity');
  });
});

describe('gradient', () => {
  test('gives scores and the gradient of their sum, and counts', async () => {
    const scorer = await openGradient(promptLength, [5, 3, 8, 8]);
    const { score, gradient } = await scorer.run(images5, prompts5);
    expect(score).toEqual(await openScorer(promptLength).score(images5, prompts5));
    prompts5.forEach((p, i) => expect(gradient.data[i * 192]).toBeCloseTo(p.length / 192, 6));
    expect(scorer.queries).toBe(5);
    await expect(scorer.run(images5, ['a'])).rejects.toThrow(RewardError);
    await scorer.release();
  });

  test('refuses a gradient that is not finite', async () => {
    // √0 is 0, and its slope infinite.
    const reward = pixelReward({
      name: 'root', description: '', range: [0, 1], trace: (x) => sqrt(mul(mean(x, { axes: [1, 2, 3] }), 0)),
    });
    const scorer = await openGradient(reward, [5, 3, 8, 8]);
    await expect(scorer.run(images5, prompts5)).rejects.toThrow('reward root has a gradient that is not finite');
  });
});

describe('weighted sum', () => {
  const red = { reward: color('red', 'red'), weight: 2, mean: 0.1, std: 0.5 };
  const dark = { reward: color('dark', 'darkness'), weight: -1 };

  test('adds normalised parts, each with its prompts, and stays differentiable', async () => {
    const total = weightedSum([red, dark, { reward: promptLength, weight: 0.1 }]);
    const [r, d, p] = [await scoreOf(red.reward), await scoreOf(dark.reward), await scoreOf(promptLength)];
    const scores = await scoreOf(total);
    scores.forEach((s, i) => expect(s).toBeCloseTo((2 * (r[i]! - 0.1)) / 0.5 - d[i]! + 0.1 * p[i]!, 5));
    expect(total.differentiable).toBe(true);
    expect(total.name).toBe('red+dark+prompt-length');
    expect(total.description).toBe('-0.4 + 4 · red + -1 · dark + 0.1 · prompt-length');
    // red −0.5…0.5, dark 0…1 turned around, prompt-length 0…10
    expect(total.range[0]).toBeCloseTo(-0.4 - 2 - 1, 9);
    expect(total.range[1]).toBeCloseTo(-0.4 + 2 + 1, 9);
    await checkGradient(total as DifferentiableReward, images5, prompts5);
  });

  test('with a black box is a black box with the same sum', async () => {
    let released = 0;
    const box = { ...means, release: async () => void released++ };
    const total = weightedSum([red, { reward: box, weight: 3 }]);
    expect(total.differentiable).toBe(false);
    const [r, b] = [await scoreOf(red.reward), await scoreOf(means)];
    (await scoreOf(total)).forEach((s, i) => expect(s).toBeCloseTo((2 * (r[i]! - 0.1)) / 0.5 + 3 * b[i]!, 5));
    await total.release?.();
    expect(released).toBe(1);
  });

  test('tells what each part gave by itself, and counts the image once', async () => {
    const box = { reward: means, weight: 3 };
    for (const parts of [[red, dark], [red, box]]) {
      const scorer = openScorer(weightedSum(parts), { batch: 4 });
      const whole = await scorer.score(images5, prompts5);
      const { total, parts: shares } = await scorer.scoreParts(images5, prompts5);
      total.forEach((t, i) => expect(t).toBeCloseTo(whole[i]!, 5));
      expect([...shares.keys()]).toEqual(parts.map(({ reward }) => reward.name));
      for (const { reward } of parts) expect([...shares.get(reward.name)!]).toEqual([...(await scoreOf(reward))]);
      expect(scorer.queries).toBe(10);
      await scorer.release();
    }
    const alone = await openScorer(red.reward).scoreParts(images5, prompts5);
    expect([...alone.total]).toEqual([...(await scoreOf(red.reward))]);
    expect(alone.parts.size).toBe(0);
  });

  test('refuses nothing, doubles and impossible numbers', () => {
    expect(() => weightedSum([])).toThrow('at least one');
    expect(() => weightedSum([red, red])).toThrow('two parts of a weighted sum are named red');
    expect(() => weightedSum([{ ...red, std: 0 }])).toThrow('reward red');
    expect(() => weightedSum([{ ...red, weight: NaN }])).toThrow('reward red');
  });
});

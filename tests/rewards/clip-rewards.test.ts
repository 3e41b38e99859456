import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { resizeImage } from '../../src/formats/image-resize.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { normal } from '../../src/random/random.js';
import { openClip } from '../../src/rewards/clip-folder.js';
import { clipHead } from '../../src/rewards/clip-head.js';
import { fitSquare } from '../../src/rewards/clip-pixels.js';
import { clipScore } from '../../src/rewards/clip-score.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { weightedSum } from '../../src/rewards/weighted.js';
import { compile } from '../../src/runtime/compile.js';
import { checkGradient, pictures, tinyClip, TOKENIZER } from './helpers.js';

let folder: string;
beforeAll(async () => {
  folder = await tinyClip();
});
afterAll(() => rm(folder, { recursive: true }));

const prompts = ['a red apple', 'a cat', 'two dogs, 3d'];

/** Image embeddings and text embeddings as rows of plain numbers. */
async function embeddings(images: HostTensor): Promise<{ image: number[][]; text: number[][] }> {
  const clip = await openClip(folder, 'c', { tokenizer: TOKENIZER });
  const e = clip.embedImages(input('images', images.shape));
  const run = await compile({ outputs: { e } }, { weights: clip.weights });
  const rows = (t: HostTensor): number[][] => Array.from({ length: t.shape[0]! }, (_, i) =>
    Array.from(t.data.slice(10 * i, 10 * i + 10) as Float32Array));
  return { image: rows((await run.run({ images })).e), text: rows(await clip.embedTexts(prompts)) };
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * b[i]!, 0);

describe('clip-score', () => {
  test('is the cosine of each image with its own prompt', async () => {
    const images = pictures(3);
    const { image, text } = await embeddings(images);
    image.forEach((e) => expect(dot(e, e)).toBeCloseTo(1, 5));
    const reward = await clipScore('clip', folder, { tokenizer: TOKENIZER });
    const scores = await openScorer(reward, { batch: 2 }).score(images, prompts);
    scores.forEach((s, i) => expect(s).toBeCloseTo(dot(image[i]!, text[i]!), 5));
    const turned = [prompts[1]!, prompts[2]!, prompts[0]!];
    const others = await openScorer(reward).score(images, turned);
    others.forEach((s, i) => expect(s).toBeCloseTo(dot(image[i]!, text[(i + 1) % 3]!), 5));
    expect(Math.abs(others[0]! - scores[0]!)).toBeGreaterThan(1e-3);
    await reward.release?.();
  });

  test('has the right gradient, also through resizing and twice in one sum', async () => {
    const one = await clipScore('one', folder, { tokenizer: TOKENIZER });
    await checkGradient(one, pictures(3, 24), prompts);
    const two = await clipScore('two', folder, { tokenizer: TOKENIZER });
    const sum = weightedSum([{ reward: one }, { reward: two, weight: 2 }]);
    const single = await openScorer(one).score(pictures(3), prompts);
    (await openScorer(sum).score(pictures(3), prompts)).forEach((s, i) => expect(s).toBeCloseTo(3 * single[i]!, 5));
  });

  test('embeds more texts than fit into one batch, repeats included', async () => {
    const clip = await openClip(folder, 'c', { tokenizer: TOKENIZER });
    const texts = Array.from({ length: 11 }, (_, i) => `a ${['cat', 'dog', 'fox'][i % 3]} ${i % 9}`);
    const all = await clip.embedTexts(texts);
    const again = await clip.embedTexts([texts[10]!, texts[9]!]);
    expect(again.data.slice(0, 10)).toEqual(all.data.slice(100, 110));
    expect(again.data.slice(10)).toEqual(all.data.slice(90, 100));
    expect(all.data.slice(0, 10)).toEqual((await clip.embedTexts([texts[0]!])).data);
    await clip.release();
  });

  test('names the folder that lacks a tokenizer or a model', async () => {
    await expect(clipScore('c', folder)).rejects.toThrow(folder);
    await expect(clipScore('c', '/nowhere')).rejects.toThrow('/nowhere');
  });
});

test.each([[24, 24, 16], [12, 12, 16], [20, 32, 16], [48, 20, 16]])(
  'images of %i × %i become %i pixels square as with Pillow', async (height, width, side) => {
    const image = host(pictures(1, 48).data.slice(0, 3 * height * width), [3, height, width]);
    const run = await compile({ outputs: { y: fitSquare(input('x', [1, 3, height, width]), side) } });
    const { y } = await run.run({ x: host(image.data, [1, 3, height, width]) });
    const [h, w] = [height, width].map((d) => Math.floor((d * side) / Math.min(height, width))) as [number, number];
    const resized = resizeImage(image, w, h, 'cubic');
    const [top, left] = [Math.floor((h - side) / 2), Math.floor((w - side) / 2)];
    for (let k = 0; k < 3 * side * side; k++) {
      const [c, row, column] = [Math.floor(k / side ** 2), Math.floor(k / side) % side, k % side];
      const expected = resized.data[(c * h + top + row) * w + left + column] as number;
      expect(Math.min(1, Math.max(0, y.data[k] as number))).toBeCloseTo(expected, 4);
    }
  });

describe('clip-head', () => {
  const random = (name: string, ...shape: number[]): HostTensor =>
    host(normal({ seed: 3, stream: name, step: 0 }, 0, shape.reduce((a, b) => a * b, 1)), shape);
  const about = { name: 'style', description: '', range: [-8, 8] as const };

  test('is the affine map of the image embedding', async () => {
    const head = join(folder, 'head.safetensors');
    const [weight, bias] = [random('w', 1, 10), random('b', 1)];
    await writeSafetensors(head, [['weight', weight], ['bias', bias]]);
    const reward = await clipHead({ ...about, clip: folder, head });
    const images = pictures(3);
    const { image } = await embeddings(images);
    const scores = await openScorer(reward).score(images, prompts);
    const w = Array.from(weight.data as Float32Array);
    scores.forEach((s, i) => expect(s).toBeCloseTo(dot(image[i]!, w) + Number(bias.data[0]), 4));
    await checkGradient(reward, images, prompts);
  });

  test('reads layers in the order of their numbers', async () => {
    const head = join(folder, 'layers.safetensors');
    const layers = {
      'layers.10.weight': random('a', 1, 4), 'layers.10.bias': random('b', 1),
      'layers.2.weight': random('c', 4, 10), 'layers.2.bias': random('d', 4),
    };
    await writeSafetensors(head, Object.entries(layers));
    const reward = await clipHead({ ...about, clip: folder, head });
    const { image } = await embeddings(pictures(1));
    const get = (key: keyof typeof layers): number[] => Array.from(layers[key].data as Float32Array);
    const w = get('layers.2.weight');
    const middle = get('layers.2.bias').map((b, j) => b + dot(image[0]!, w.slice(10 * j, 10 * j + 10)));
    const [score] = await openScorer(reward).score(pictures(1), ['']);
    expect(score).toBeCloseTo(dot(middle, get('layers.10.weight')) + get('layers.10.bias')[0]!, 4);
  });

  test.each<[string, Record<string, HostTensor>]>([
    ['where 10 numbers come in', { weight: random('w', 1, 9), bias: random('b', 1) }],
    ['"bias" []', { weight: random('w', 1, 10) }],
    ['yields 2 numbers', { weight: random('w', 2, 10), bias: random('b', 2) }],
    ['unexpected tensor "scale"', { weight: random('w', 1, 10), bias: random('b', 1), scale: random('s', 1) }],
  ])('refuses a head that %s', async (problem, tensors) => {
    const head = join(folder, 'bad.safetensors');
    await writeSafetensors(head, Object.entries(tensors));
    await expect(clipHead({ ...about, clip: folder, head })).rejects.toThrow(problem);
    await expect(clipHead({ ...about, clip: folder, head })).rejects.toThrow(head);
  });
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { loadTokenizer } from '../../src/loading/tokenizer-files.js';
import { openGradient } from '../../src/rewards/gradient.js';
import { onnxReward } from '../../src/rewards/onnx.js';
import type { OnnxRewardOptions } from '../../src/rewards/onnx.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { weightedSum } from '../../src/rewards/weighted.js';
import { float32, int64, modelFile, noise, runDirectly } from '../graph/onnx/model-file.js';
import type { ModelSpec } from '../graph/onnx/model-file.js';
import { maxError } from '../models/fixture.js';
import { checkGradient, pictures, TOKENIZER } from './helpers.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-onnx-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function save(spec: ModelSpec): Promise<string> {
  const file = join(folder, `${Math.random().toString(36).slice(2)}.onnx`);
  await writeFile(file, modelFile(spec));
  return file;
}

/** A convolution, a class-token row as vision transformers have it (whose folded shape depends on B), three classes. */
const classifier = (image: (number | string)[], nchw = true): ModelSpec => ({
  inputs: { image: { shape: image } },
  nodes: [
    ...(nchw ? [] : [{ op: 'Transpose', in: ['image'], out: ['planes'], attributes: { perm: [0, 3, 1, 2] } }]),
    { op: 'Conv', in: [nchw ? 'image' : 'planes', 'kernel'], out: ['c'], attributes: { strides: [4, 4] } },
    { op: 'Tanh', in: ['c'], out: ['t'] },
    { op: 'Flatten', in: ['t'], out: ['f'] },
    { op: 'Shape', in: ['f'], out: ['s'] },
    { op: 'Gather', in: ['s', 'zero'], out: ['b'] },
    { op: 'Concat', in: ['b', 'width'], out: ['bw'], attributes: { axis: 0 } },
    { op: 'Expand', in: ['token', 'bw'], out: ['tokens'] },
    { op: 'Concat', in: ['f', 'tokens'], out: ['all'], attributes: { axis: 1 } },
    { op: 'MatMul', in: ['all', 'w'], out: ['logits'] },
  ],
  initializers: {
    kernel: noise([8, 3, 4, 4], 1), zero: int64([0]), width: int64([600]), token: noise([1, 600], 2), w: noise([728, 3], 3, 0.1),
  },
  outputs: ['logits'],
});

/** A caption model: cosine-ready embeddings of the image and of the masked mean of token embeddings. */
const captioner: ModelSpec = {
  inputs: {
    input_ids: { shape: ['b', 'l'], dtype: 'int64' },
    pixel_values: { shape: ['b', 3, 8, 8] },
    attention_mask: { shape: ['b', 'l'], dtype: 'int64' },
  },
  nodes: [
    { op: 'Flatten', in: ['pixel_values'], out: ['flat'] },
    { op: 'MatMul', in: ['flat', 'w'], out: ['image_embeds'] },
    { op: 'Gather', in: ['table', 'input_ids'], out: ['rows'] },
    { op: 'Cast', in: ['attention_mask'], out: ['mask'], attributes: { to: 1 } },
    { op: 'Unsqueeze', in: ['mask', 'last'], out: ['wide'] },
    { op: 'Mul', in: ['rows', 'wide'], out: ['masked'] },
    { op: 'ReduceSum', in: ['masked', 'one'], out: ['text_embeds'], attributes: { keepdims: 0 } },
  ],
  initializers: { w: noise([192, 6], 4), table: noise([3072, 6], 5), last: int64([2]), one: int64([1]) },
  outputs: ['image_embeds', 'text_embeds'],
};

const score = async (options: OnnxRewardOptions, images: HostTensor, prompts?: string[], batch = 2): Promise<Float32Array> =>
  openScorer(await onnxReward('r', options), { batch }).score(images, prompts ?? Array(images.shape[0]!).fill(''));

const images = pictures(4, 16);

describe('a classifier', () => {
  test('gives the class that the file gives, for any batch size, open or fixed', async () => {
    const open = classifier(['b', 3, 'h', 'w']);
    const signed = { ...images, data: images.data.map((v) => 2 * v - 1) };
    const { logits } = await runDirectly(modelFile(open), { image: signed });
    const expected = Array.from({ length: 4 }, (_, i) => logits!.data[3 * i + 1] as number);
    const file = await save(open);
    const given = { file, pixels: 'signed', side: 16, index: 1 } as const;
    for (const batch of [1, 2, 4]) {
      (await score(given, images, undefined, batch)).forEach((s, i) => expect(s).toBeCloseTo(expected[i]!, 4));
    }
    const fixed = await save(classifier([2, 3, 16, 16]));
    (await score({ file: fixed, pixels: 'signed', index: 1 }, images, undefined, 4))
      .forEach((s, i) => expect(s).toBeCloseTo(expected[i]!, 4));
  });

  test('one reward serves several batch sizes at once', async () => {
    const reward = await onnxReward('r', { file: await save(classifier(['b', 3, 16, 16])), pixels: 'plain', index: 0 });
    const [one, four] = [openScorer(reward, { batch: 1 }), openScorer(reward, { batch: 4 })];
    const prompts = ['', '', '', ''];
    const scores = await four.score(images, prompts);
    (await one.score(images, prompts)).forEach((s, i) => expect(s).toBeCloseTo(scores[i]!, 5));
    const twice = weightedSum([{ reward }, { reward: { ...reward, name: 'other' } }]);
    (await openScorer(twice).score(images, prompts)).forEach((s, i) => expect(s).toBeCloseTo(2 * scores[i]!, 4));
  });

  test('channels last, and other pixels', async () => {
    const bytes = { ...images, data: images.data.map((v) => v * 255) };
    const { logits } = await runDirectly(modelFile(classifier(['b', 3, 16, 16])), { image: bytes });
    const scores = await score({ file: await save(classifier(['b', 16, 16, 3], false)), pixels: 'bytes', index: 2 }, images);
    scores.forEach((s, i) => expect(s).toBeCloseTo(logits!.data[3 * i + 2] as number, 4));
  });

  test('has the right gradient, also through resizing', async () => {
    const file = await save(classifier([1, 3, 16, 16]));
    await checkGradient(await onnxReward('r', { file, pixels: 'imagenet', index: 0 }), pictures(2, 24), ['', '']);
  });
});

/** The same classifier reading bytes. */
function bytesClassifier(shape: (number | string)[], nchw: boolean): ModelSpec {
  const { nodes, ...rest } = classifier(shape, nchw);
  const [first, ...others] = nodes;
  return {
    ...rest,
    inputs: { image: { shape, dtype: 'uint8' } },
    nodes: [
      { op: 'Cast', in: ['image'], out: ['floats'], attributes: { to: 1 } }, { op: 'Div', in: ['floats', 'most'], out: ['unit'] },
      { ...first!, in: ['unit', ...first!.in.slice(1)] }, ...others,
    ],
    initializers: { ...rest.initializers, most: float32([255], []) },
  };
}

describe('a model that takes bytes', () => {
  const given = { pixels: 'bytes', index: 1 } as const;

  test('gets them rounded, and the gradient passes through', async () => {
    const spec = bytesClassifier(['b', 16, 16, 3], false);
    const file = await save(spec);
    const levels = images.data.map((v) => Math.round(255 * v));
    const whole = { ...images, data: levels.map((v) => v / 255) };
    const last = Uint8Array.from({ length: levels.length }, (_, k) => {
      const [i, place, ch] = [Math.floor(k / 768), Math.floor(k / 3) % 256, k % 3];
      return levels[i * 768 + ch * 256 + place]!;
    });
    const { logits } = await runDirectly(modelFile(spec), { image: host(last, [4, 16, 16, 3], 'uint8') });
    const scores = await score({ ...given, file }, images);
    scores.forEach((s, i) => expect(s).toBeCloseTo(logits!.data[3 * i + 1] as number, 4));

    const floats = await onnxReward('r', { file: await save(classifier(['b', 3, 16, 16])), pixels: 'plain', index: 1 });
    const gradients = await Promise.all([await onnxReward('r', { ...given, file }), floats].map(async (reward) => {
      const scorer = await openGradient(reward, [4, 3, 16, 16]);
      const { gradient } = await scorer.run(whole, ['', '', '', '']);
      await scorer.release();
      return gradient;
    }));
    expect(maxError(gradients[0]!, gradients[1]!)).toBeLessThan(1e-5);
    expect(Math.max(...(gradients[1]!.data as Float32Array))).toBeGreaterThan(1e-3);
  });

  test('must be given them', async () => {
    const file = await save(bytesClassifier(['b', 16, 16, 3], false));
    await expect(onnxReward('r', { file, pixels: 'plain', index: 0 })).rejects.toThrow('input image is uint8): give pixels=bytes, not plain');
  });
});

describe('the order of axes is told by', () => {
  const [first, last] = [classifier(['b', 3, 16, 16]), (shape: (number | string)[]) => classifier(shape, false)];
  test.each<[string, ModelSpec]>([
    ['names, last', last(['b', 'height', 'width', 'channels'])],
    ['names, first', classifier(['b', 'channels', 'height', 'width'])],
    ['lengths, last', last(['b', 16, 16, 'x'])],
    ['what can be computed, last', last(['b', 'd1', 'd2', 'd3'])],
    ['what can be computed, first', classifier(['b', 'd1', 'd2', 'd3'])],
  ])('%s', async (_, spec) => {
    const given = { pixels: 'plain', index: 0, side: 16 } as const;
    const expected = await score({ ...given, file: await save(first) }, images);
    (await score({ ...given, file: await save(spec) }, images)).forEach((s, i) => expect(s).toBeCloseTo(expected[i]!, 4));
  });

  test('the option layout, where both can be computed', async () => {
    const mean: ModelSpec = {
      inputs: { x: { shape: ['b', 'd1', 'd2', 'd3'] } },
      nodes: [{ op: 'Flatten', in: ['x'], out: ['f'] }, { op: 'MatMul', in: ['f', 'w'], out: ['y'] }],
      initializers: { w: noise([768, 1], 3) }, outputs: ['y'],
    };
    const file = await save(mean);
    const given = { file, pixels: 'plain', side: 16 } as const;
    await expect(onnxReward('r', given)).rejects.toThrow('does not tell whether its image input x has the channels first or last');
    const [a, b] = [await score({ ...given, layout: 'nchw' }, images), await score({ ...given, layout: 'nhwc' }, images)];
    expect(Math.abs(a[0]! - b[0]!)).toBeGreaterThan(1e-3);
    expect((await onnxReward('r', { ...given, layout: 'nhwc' })).description).toContain('[B, 16, 16, 3]');
  });
});

describe('a model that reads the prompt', () => {
  const options = async () => ({ file: await save(captioner), pixels: 'plain', tokenizer: TOKENIZER }) as const;
  const small = pictures(3, 8);
  const prompts = ['a red apple', 'a cat', 'two dogs, 3d'];

  test('scores the cosine of its embeddings, of each image with its own prompt', async () => {
    const tokenizer = await loadTokenizer(TOKENIZER);
    const rows = prompts.map((p) => Array.from(tokenizer.encode(p).ids));
    const { image_embeds: e, text_embeds: t } = await runDirectly(modelFile(captioner), {
      pixel_values: small,
      input_ids: int64(rows.flat(), [3, tokenizer.maxLength]),
      attention_mask: int64(rows.flatMap((r) => r.map((_, i) => Number(i <= r.indexOf(tokenizer.eos)))), [3, tokenizer.maxLength]),
    });
    const row = (x: typeof e, i: number): number[] => Array.from(x!.data.slice(6 * i, 6 * i + 6) as Float32Array);
    const dot = (a: number[], b: number[]): number => a.reduce((s, v, i) => s + v * b[i]!, 0);
    const scores = await score(await options(), small, prompts);
    scores.forEach((s, i) => {
      const [a, b] = [row(e, i), row(t, i)];
      expect(s).toBeCloseTo(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)), 5);
    });
    const swapped = await score(await options(), small, [prompts[1]!, prompts[0]!, prompts[2]!]);
    expect(Math.abs(swapped[0]! - scores[0]!)).toBeGreaterThan(1e-3);
    expect(swapped[2]).toBeCloseTo(scores[2]!, 6);
  });

  test('has the right gradient', async () => checkGradient(await onnxReward('r', await options()), small, prompts));
});

test('the registry opens it as it is written on the command line', async () => {
  const file = await save(classifier(['b', 3, 16, 16]));
  const reward = await openRewards([parseReward(`onnx:2?file=${file}&pixels=plain&index=1`)]);
  const twice = await openScorer(reward).score(images, ['', '', '', '']);
  (await score({ file, pixels: 'plain', index: 1 }, images)).forEach((s, i) => expect(twice[i]).toBeCloseTo(2 * s, 4));
  expect(() => parseReward(`onnx?file=${file}`)).toThrow('option pixels is missing');
  expect(() => parseReward(`onnx?file=${file}&pixels=plain&index=-1`)).toThrow('index');
});

describe('says what is wrong when it is opened', () => {
  const identity = (inputs: ModelSpec['inputs'], extra: Partial<ModelSpec> = {}): ModelSpec => (
    { inputs, nodes: [{ op: 'Identity', in: [Object.keys(inputs!)[0]!], out: ['y'] }], outputs: ['y'], ...extra });
  test.each<[string, ModelSpec, Partial<OnnxRewardOptions>, string]>([
    ['several numbers', classifier(['b', 3, 16, 16]), {}, 'gives 3 numbers for each image: choose one with the option index'],
    ['index too large', classifier(['b', 3, 16, 16]), { index: 3 }, 'index 3 is none of them'],
    ['open size', classifier(['b', 3, 'h', 'w']), { index: 0 }, 'give the option side'],
    ['no such output', classifier(['b', 3, 16, 16]), { output: 'prob' }, 'has no output prob; its outputs: logits'],
    ['no image', identity({ x: { shape: ['b', 10] } }), {}, 'cannot judge images: it takes x [b, 10]'],
    ['two images', identity({ x: { shape: [1, 3, 8, 8] }, z: { shape: [1, 3, 8, 8] } }), {}, 'cannot judge images'],
    ['no tokenizer', captioner, {}, 'reads the prompt (input input_ids): give the option tokenizer'],
    ['one number for the batch', identity({ x: { shape: [2, 3, 8, 8] } }, {
      nodes: [{ op: 'ReduceMean', in: ['x'], out: ['y'], attributes: { keepdims: 0 } }],
    }), {}, 'not one row of numbers for each'],
  ])('%s', async (_, spec, options, message) => {
    const file = await save(spec);
    await expect(onnxReward('r', { file, pixels: 'plain', ...options })).rejects.toThrow(message);
  });

  test('several outputs, a fixed batch that does not divide, a missing file', async () => {
    const two = await save({ ...classifier(['b', 3, 16, 16]), outputs: ['logits', 'f'] });
    await expect(onnxReward('r', { file: two, pixels: 'plain' })).rejects.toThrow('choose one with the option output');
    await expect(onnxReward('r', { file: two, pixels: 'plain', output: 'logits', index: 0 })).resolves.toBeTruthy();
    const fixed = await save(classifier([3, 3, 16, 16]));
    await expect(score({ file: fixed, pixels: 'plain', index: 0 }, images, undefined, 4)).rejects.toThrow('takes 3 images at a time');
    await expect(onnxReward('r', { file: '/nowhere/x.onnx', pixels: 'plain' })).rejects.toThrow('/nowhere/x.onnx');
  });
});

import { afterAll, beforeAll, expect, test } from 'vitest';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openClipSource } from '../../src/formats/names/open-clip.js';
import { host } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { openClipConfig, VIT_H_14 } from '../../src/loading/clip-checkpoint.js';
import { componentShapes } from '../../src/models/components.js';
import { fitPadded } from '../../src/rewards/clip-pixels.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { compile } from '../../src/runtime/compile.js';
import { changedCopies, compareWithPublished, fixturePath, publishedShapes, SMALL_TOKENIZER } from './preference.js';

const file = fixturePath('preference_hpsv2.pt');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-hps-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('scores and gradients are those of the published code', () =>
  compareWithPublished(`hpsv2?file=${file}&tokenizer=${SMALL_TOKENIZER}`, 'hpsv2'));

test('the published checkpoint is read whole, as ViT-H/14', async () => {
  const source = openClipSource(await publishedShapes('hpsv2'));
  const config = openClipConfig(source, VIT_H_14);
  expect(config).toMatchObject({
    projection_dim: 1024,
    text_config: {
      vocab_size: 49408, eos_token_id: 49407, max_position_embeddings: 77, hidden_size: 1024, num_hidden_layers: 24,
      num_attention_heads: 16, intermediate_size: 4096, hidden_act: 'gelu',
    },
    vision_config: {
      image_size: 224, patch_size: 14, hidden_size: 1280, num_hidden_layers: 32, num_attention_heads: 16,
      intermediate_size: 5120, hidden_act: 'gelu',
    },
  });
  const found = [...source.tensors].map(([name, { shape }]) => [name, shape]);
  expect(found.toSorted()).toEqual([...componentShapes('CLIPModel', config)].toSorted());
});

test.each([[8, 12, 8], [12, 5, 8], [16, 26, 8], [6, 6, 8], [7, 16, 8]])(
  'images of %i × %i become %i pixels square, black at the sides', async (height, width, side) => {
    const run = await compile({ outputs: { y: fitPadded(input('x', [1, 3, height, width]), side) } });
    const x = host(new Float32Array(3 * height * width).fill(0.5), [1, 3, height, width]);
    const { y } = await run.run({ x });
    expect(y.shape).toEqual([1, 3, side, side]);
    const filled = (length: number): number => {
      const exact = (length * side) / Math.max(height, width);
      return exact === 3.5 || exact === 4.5 ? 4 : Math.round(exact); // as Python rounds
    };
    const [h, w] = [filled(height), filled(width)];
    const inside = (at: number, length: number): boolean =>
      at >= Math.floor((side - length) / 2) && at < Math.floor((side - length) / 2) + length;
    for (let k = 0; k < 3 * side * side; k++) {
      const [row, column] = [Math.floor(k / side) % side, k % side];
      expect(y.data[k]).toBeCloseTo(inside(row, h) && inside(column, w) ? 0.5 : 0, 5);
    }
  });

test('says what is wrong when it is opened', async () => {
  const open = (path: string, tokenizer = SMALL_TOKENIZER) =>
    openRewards([parseReward(`hpsv2?file=${path}&tokenizer=${tokenizer}`)]);
  const write = await changedCopies(file, folder);
  await expect(open(await write('whole', () => {}))).resolves.toBeTruthy();
  const text = await write('text', (all) => all.delete('visual.conv1.weight'));
  await expect(open(text)).rejects.toThrow(`${text}: has no tensor "visual.conv1.weight". Give a checkpoint`);
  const short = await write('short', (all) => all.delete('visual.transformer.resblocks.0.ln_2.bias'));
  await expect(open(short)).rejects.toThrow(/short.*layers\.0\.layer_norm2\.bias" is missing/);
  const wrong = await write('wrong', (all) => all.set('ln_final.bias', host(new Float32Array(3), [3])));
  await expect(open(wrong)).rejects.toThrow(/wrong.*"text_model\.final_layer_norm\.bias" is \[3\], not \[32\]/);
  const huge = await write('huge', (all) =>
    all.set('visual.positional_embedding', host(new Float32Array(0), [0, 32])));
  await expect(open(huge)).rejects.toThrow(/huge.*image_size/);
  await expect(open('/nowhere.pt')).rejects.toThrow('/nowhere.pt');
  await expect(open(file, folder)).rejects.toThrow(`${folder}: holds neither vocab.json`);
});

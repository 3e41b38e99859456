import { afterAll, beforeAll, expect, test } from 'vitest';
import { appendFile, copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageRewardSource } from '../../src/formats/names/image-reward.js';
import { host } from '../../src/graph/dtype.js';
import { blipRewardConfig, blipRewardShapes } from '../../src/loading/blip-reward.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { changedCopies, compareWithPublished, fixturePath, publishedShapes } from './preference.js';

const file = fixturePath('preference_image_reward.pt');
const vocab = fixturePath('wordpiece.txt');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-image-reward-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('scores and gradients are those of the published code', () =>
  compareWithPublished(`image-reward?file=${file}&vocab=${vocab}`, 'image_reward'));

test('the published checkpoint is read whole, as ViT-L/16 and BERT base', async () => {
  const published = await publishedShapes('image_reward');
  const source = imageRewardSource(published);
  const config = blipRewardConfig(source);
  expect(config).toEqual({
    vision: {
      image_size: 224, patch_size: 16, hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24,
      num_attention_heads: 16,
    },
    text: {
      vocab_size: 30524, max_position_embeddings: 512, hidden_size: 768, intermediate_size: 3072,
      num_hidden_layers: 12, num_attention_heads: 12,
    },
    head: [1024, 128, 64, 16, 1],
  });
  const buffer = 'text.embeddings.position_ids';
  const found = [...source.tensors].filter(([name]) => name !== buffer).map(([name, { shape }]) => [name, shape]);
  expect(found.toSorted()).toEqual([...blipRewardShapes(config)].toSorted());
  expect(published.tensors.has('blip.vision_proj.weight')).toBe(true);
});

test('says what is wrong when it is opened', async () => {
  const open = (path: string, words = vocab) => openRewards([parseReward(`image-reward?file=${path}&vocab=${words}`)]);
  const write = await changedCopies(file, folder);
  await expect(open(await write('whole', () => {}))).resolves.toBeTruthy();
  const blip = await write('blip', (all) => all.delete('mlp.layers.7.weight'));
  await expect(open(blip)).rejects.toThrow(`${blip}: has no tensor "mlp.layers.7.weight". Give ImageReward.pt`);
  const short = await write('short', (all) => all.delete('blip.visual_encoder.blocks.0.norm2.bias'));
  await expect(open(short)).rejects.toThrow(`${short}: has no tensor "vision.encoder.layers.0.layer_norm2.bias"`);
  const wrong = await write('wrong', (all) => all.set('mlp.layers.2.bias', host(new Float32Array(3), [3])));
  await expect(open(wrong)).rejects.toThrow(`${wrong}: its "head.1.bias" is [3], not [16]`);
  const odd = await write('odd', (all) =>
    all.set('blip.text_encoder.embeddings.word_embeddings.weight', host(new Float32Array(8 * 25), [8, 25])));
  await expect(open(odd)).rejects.toThrow(/odd.*"text\.hidden_size": 25 is not supported/);
  const words = fixturePath('pipeline_sd1/tokenizer/merges.txt');
  await expect(open(file, words)).rejects.toThrow(`${words}: is no vocabulary of BERT: it has no token [PAD]`);
  const more = join(folder, 'more.txt');
  await copyFile(vocab, more);
  await appendFile(more, 'another\n');
  const problem = `${more}: makes 185 tokens with [DEC] and [ENC], where ${file} has 184`;
  await expect(open(file, more)).rejects.toThrow(problem);
  await expect(open('/nowhere.pt')).rejects.toThrow('/nowhere.pt');
});

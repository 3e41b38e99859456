import { expect, test } from 'vitest';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { compareWithPublished, fixturePath, SMALL_TOKENIZER } from './preference.js';
import { TOKENIZER } from './helpers.js';

const folder = fixturePath('preference_pickscore');

test('scores and gradients are those of the published code', () =>
  compareWithPublished(`pickscore?folder=${folder}&tokenizer=${SMALL_TOKENIZER}`, 'pickscore'));

test('says what is wrong when it is opened', async () => {
  const open = (options: string) => openRewards([parseReward(`pickscore?${options}`)]);
  await expect(open('folder=/nowhere')).rejects.toThrow('/nowhere');
  await expect(open(`folder=${folder}`)).rejects.toThrow(`${folder}: holds neither vocab.json`);
  await expect(open(`folder=${folder}&tokenizer=${TOKENIZER}`)).rejects.toThrow(
    `${TOKENIZER}: gives 16 tokens that end with 3071, where the CLIP model takes 77 of a vocabulary of 566`);
});

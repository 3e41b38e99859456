import { describe, expect, test } from 'vitest';
import { openRewards, parseReward, parseRewards, RewardSpecError, REWARDS } from '../../src/rewards/registry.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { resolveConfig } from '../../src/training/config.js';
import { pictures } from './helpers.js';

describe('NAME[:weight][?option=value&…]', () => {
  test.each([
    ['symmetry', { name: 'symmetry', weight: 1, mean: 0, std: 1, options: {} }],
    ['symmetry:0.5', { weight: 0.5 }],
    ['symmetry:-2?mirror=top-bottom', { weight: -2, options: { mirror: 'top-bottom' } }],
    ['color:1e-1?property=red&mean=0.2&std=0.05', { weight: 0.1, mean: 0.2, std: 0.05, options: { property: 'red' } }],
    ['color?min=0.2&max=0.6', { min: 0.2, max: 0.6, options: {} }],
    ['clip-score?folder=C:\\models\\a=b?c', { options: { folder: 'C:\\models\\a=b?c' } }],
    ['clip-score?folder=/a&b/c', { options: { folder: '/a&b/c' } }],
    ['clip-score?folder=/a&b=c/&d&tokenizer=/t&', { options: { folder: '/a&b=c/&d', tokenizer: '/t&' } }],
    ['http?url=http://h/s?a=1&key2=2&timeout=5', { options: { url: 'http://h/s?a=1&key2=2', timeout: '5' } }],
    ['http?url=http://h/s?a=1&&timeout=2&&&&c&timeout=5', { options: { url: 'http://h/s?a=1&timeout=2&&c', timeout: '5' } }],
    ['http?url=http://me:{PASSWORD}@h/s?key={KEY}', { options: { url: 'http://me:{PASSWORD}@h/s?key={KEY}' } }],
  ])('%s', (text, expected) => expect(parseReward(text)).toMatchObject(expected));

  test.each([
    ['symetry', 'There is no reward "symetry". Did you mean symmetry?'],
    ['compress', 'Did you mean compressibility or incompressibility or jpeg-compressibility?'],
    ['', 'There is no reward ""'],
    ['symmetry:much', 'weight "'],
    ['symmetry:', 'weight "'],
    ['symmetry?mirror=left', 'symmetry, option mirror is "left"'],
    ['symmetry?miror=left', 'no option "miror". Did you mean mirror?'],
    ['symmetry?mirror', '"mirror" is not option=value'],
    ['symmetry?std=0', 'std 0'],
    ['symmetry?min=1&max=0', 'min must be less than max'],
    ['symmetry?max=', 'max "" is not a number'],
    ['symmetry?mean=x', 'mean "x" is not a number'],
    ['symmetry?constructor=1', 'no option "constructor"'],
    ['reward-model', 'option folder is missing'],
    ['http?url=http://h/s?a=1&timout=5', 'no option "timout". Did you mean timeout?'],
  ])('%s is refused', (text, message) => {
    expect(() => parseReward(text)).toThrow(RewardSpecError);
    expect(() => parseReward(text)).toThrow(message);
  });
});

test.each([
  'http?url=http://me:hunter2@h/s', 'http?url=http://me:hun/hunter2@h/s', 'http?url=https://hunter2@h/s', 'http://me:hunter2@h',
  'http?http://me:hunter2@h/s', 'http?url=http://h/s?x=1&token=hunter2', 'http?url=http://h/s?API_KEY=hunter2&timeout=1',
  'http?url=http://{A}:hunter2@h/s', 'http?url=http://me:hunter2@h/s&timeout=much', 'nothing?url=http://me:hunter2@h/s',
])('a password or key in an address is refused and not repeated: %s', (text) => {
  const message = (() => {
    try {
      return JSON.stringify(parseReward(text));
    } catch (error) {
      return (error as Error).message;
    }
  })();
  expect(message).toMatch(/^Reward http has a password or key in an address.*\{PASSWORD\}|^There is no reward/);
  expect(message).not.toContain('hunter2');
  expect(() => resolveConfig({ model: 'emoji', rewards: [text] }, [])).toThrow('rewards.0 has a password or key');
});

describe('opening', () => {
  const images = pictures(2, 16);
  const score = async (...texts: string[]): Promise<Float32Array> =>
    openScorer(await openRewards(texts.map(parseReward))).score(images, ['', '']);

  test('one reward is itself; several, or a weighted one, a sum', async () => {
    expect((await openRewards([parseReward('symmetry')])).name).toBe('symmetry');
    const [symmetry, red] = [await score('symmetry'), await score('color?property=red')];
    const sum = await score('symmetry:2', 'color?property=red&std=0.5&mean=0.1');
    sum.forEach((s, i) => expect(s).toBeCloseTo(2 * symmetry[i]! + (red[i]! - 0.1) / 0.5, 5));
    expect((await score('symmetry:3'))[1]).toBeCloseTo(3 * symmetry[1]!, 5);
  });

  test('weights that are all zero ask for nothing; one beside another measures alone', () => {
    expect(() => parseRewards(['symmetry:0'])).toThrow(/Reward symmetry has the weight 0.*Give a weight/);
    expect(() => parseRewards(['symmetry:0', 'color:-0'])).toThrow(/Reward symmetry \+ color has the weight 0/);
    expect(parseRewards(['symmetry:0', 'color']).map((r) => r.weight)).toEqual([0, 1]);
  });

  test.each([
    ['jpeg-size', /Did you mean jpeg-compressibility or jpeg-incompressibility\?$/],
    ['mirror', /Did you mean symmetry\?$/],
    ['brightness', /Did you mean color\?$/],
    ['laion', /Did you mean aesthetic/],
    ['my_reward.onnx', /Did you mean onnx/],
    ['taste', /Did you mean reward-model/],
  ])('%s is near to what is said of a reward', (name, message) => {
    expect(() => parseReward(name)).toThrow(message);
  });

  test('the same reward twice gets two names', async () => {
    const sum = await openRewards(['color?property=red', 'color?property=blue'].map(parseReward));
    expect(sum.name).toBe('color+color#2');
    const [red, blue] = [await score('color?property=red'), await score('color?property=blue')];
    const both = await openScorer(sum).score(images, ['', '']);
    both.forEach((s, i) => expect(s).toBeCloseTo(red[i]! + blue[i]!, 5));
  });

  test('no reward, and a configuration that was not checked, are refused', async () => {
    await expect(openRewards([])).rejects.toThrow(RewardSpecError);
    await expect(openRewards([{ ...parseReward('symmetry'), name: 'nope' }])).rejects.toThrow(RewardSpecError);
  });

  test('a reward with min and max is cut to them, and asks for nothing beyond', async () => {
    const none = Array<string>(6).fill('');
    const images = pictures(6);
    const plain = [...await openScorer(await openRewards([parseReward('color')])).score(images, none)];
    const [low, high] = [1, 4].map((i) => plain.toSorted()[i]!) as [number, number];
    const cut = await openRewards([parseReward(`color?min=${low}&max=${high}&mean=0.4&std=0.1`)]);
    const expected = plain.map((s) => (Math.min(high, Math.max(low, s)) - 0.4) / 0.1);
    expect(expected).not.toEqual(plain.map((s) => (s - 0.4) / 0.1));
    (await openScorer(cut).score(images, none)).forEach((s, i) => expect(s).toBeCloseTo(expected[i]!, 4));
    const black = await openRewards([parseReward('jpeg-compressibility?min=-0.1')]);
    expect([...await openScorer(black).score(images, none)]).toEqual(Array<number>(6).fill(Math.fround(-0.1)));
  });

  test('every entry that needs no files and no model opens as what the list says', async () => {
    const withFiles = ['self-alignment', 'emoji-clip', 'emoji-judge', 'style', 'clip-score', 'aesthetic', 'onnx', 'http', 'vlm-judge',
      'pickscore', 'hpsv2', 'hpsv2.1', 'dreamsim', 'dino', 'lpips', 'image-reward', 'reward-model'];
    const free = REWARDS.filter((r) => !withFiles.includes(r.name));
    expect(free.length).toBeGreaterThan(6);
    for (const entry of free) {
      const reward = await openRewards([parseReward(entry.name)]);
      expect(reward.differentiable).toBe(entry.differentiable);
      const [low, high] = reward.range;
      (await openScorer(reward).score(pictures(2, 64), ['', ''])).forEach((s) => {
        expect(s, entry.name).toBeGreaterThanOrEqual(low);
        expect(s, entry.name).toBeLessThanOrEqual(high);
      });
    }
  });
});

/** @file What a sum's rewards give is heard of every score, a black box's in cuts as a graph's. */
import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { input } from '../../src/graph/tensor.js';
import { inCuts } from '../../src/methods/cuts.js';
import { openWork } from '../../src/methods/work.js';
import { color } from '../../src/rewards/color.js';
import { jpegSize } from '../../src/rewards/jpeg-size.js';
import type { BlackBoxReward, DifferentiableReward } from '../../src/rewards/reward.js';
import { openScorer } from '../../src/rewards/scorer.js';
import { weightedSum } from '../../src/rewards/weighted.js';
import { compile } from '../../src/runtime/compile.js';
import { blackBoxReward, hearing } from '../../src/sampling/sample-reward.js';
import { pictures } from '../rewards/helpers.js';

const images = pictures(5, 8);
const prompts = ['a', 'b', 'c', 'd', 'e'];
const red = color('red', 'red');
const bytes = jpegSize('bytes', 1, async (image: HostTensor) => 1000 + 1000 * (image.data as Float32Array)[0]!);
const heard: [Float32Array, ReadonlyMap<string, Float32Array>][] = [];
const hear = (scores: Float32Array, parts: ReadonlyMap<string, Float32Array>): void => void heard.push([scores, parts]);

test('a black box, cut by cut', async () => {
  heard.length = 0;
  const sum = weightedSum([{ reward: red, weight: 2 }, { reward: bytes }]) as BlackBoxReward;
  const reward = blackBoxReward(sum, async (samples) => samples, { microbatch: 2, record: (s) => s as Float32Array, work: openWork(), hear, signal: undefined });
  const scores = await reward.score(images, prompts);
  expect(heard).toHaveLength(1);
  expect(heard[0]![0]).toBe(scores);
  const each = await openScorer(red).score(images, prompts);
  each.forEach((r, i) => expect(heard[0]![1].get('red')![i]).toBeCloseTo(r, 6));
  scores.forEach((s, i) => expect(s).toBeCloseTo(2 * each[i]! + heard[0]![1].get('bytes')![i]!, 4));
});

test('a graph of a method\'s own brings the parts along, and the method does not see them', async () => {
  heard.length = 0;
  const sum = weightedSum([{ reward: red, weight: 2 }, { reward: color('blue', 'blue') }]) as DifferentiableReward;
  const own = hearing(hear);
  const outputs = { score: own.traced(sum, input('images', [2, 3, 8, 8])) };
  const all = own.withParts(outputs);
  expect(Object.keys(all)).toEqual(['score', 'score of red', 'score of blue']);
  const executable = await compile({ outputs: all });
  const run = own.kept(outputs, inCuts(all, (feeds) => executable.run(feeds) as never, 2, {}, openWork()));
  const results = await run({ images: host(images.data, images.shape) }, prompts);
  expect(Object.keys(results)).toEqual(['score']);
  own.tell(results.score.data as Float32Array);
  expect(heard).toHaveLength(1);
  const each = await openScorer(red).score(images, prompts);
  each.forEach((r, i) => expect(heard[0]![1].get('red')![i]).toBeCloseTo(r, 6));
  own.tell(new Float32Array(5)); // of something else
  expect(heard).toHaveLength(1);
  // Where nobody hears, graphs are as they were.
  const deaf = hearing(null);
  const quiet = { score: deaf.traced(sum, input('images', [2, 3, 8, 8])) };
  expect(Object.keys(deaf.withParts(quiet))).toEqual(['score']);
  await executable.release();
});

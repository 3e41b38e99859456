import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { loadPipeline } from '../../src/models/load.js';
import * as prompt from '../../src/models/prompt.js';
import { openConditions, REMEMBERED } from '../../src/sampling/conditions.js';
import type { HostTensor } from '../../src/graph/dtype.js';

const tiny = fileURLToPath(new URL('../fixtures/pipeline_sd1', import.meta.url));
const settings = { negativePrompt: 'blur', guidance: 3, height: 64, width: 64, compile: { threads: 1 } };

vi.mock(import('../../src/models/prompt.js'), { spy: true });
afterEach(() => vi.mocked(prompt.encodePrompts).mockClear());

/** Row i of a tensor. */
const row = ({ data, shape }: HostTensor, i: number): Float32Array => {
  const size = data.length / shape[0]!;
  return (data as Float32Array).slice(i * size, (i + 1) * size);
};
/** The prompts of each call of the encoder. */
const encoded = (): (readonly string[])[] => vi.mocked(prompt.encodePrompts).mock.calls.map(([, prompts]) => prompts);

test('a batch has the text states of its prompts in order, and those of the negative prompt', async () => {
  const pipeline = await loadPipeline(tiny);
  const conditions = await openConditions(pipeline, settings);
  const feeds = await conditions.feeds(['a dog', 'a cat', 'a dog']);
  const { context } = await prompt.encodePrompts(pipeline, ['a cat', 'a dog', 'blur'], { threads: 1 });
  const [positive, negative] = [feeds['condition/context']!, feeds['negative/context']!];
  expect([positive.shape, negative.shape]).toEqual([[3, 77, 16], [3, 77, 16]]);
  expect([0, 1, 2].map((i) => row(positive, i))).toEqual([row(context, 1), row(context, 0), row(context, 1)]);
  expect([0, 1, 2].map((i) => row(negative, i))).toEqual([0, 1, 2].map(() => row(context, 2)));
  expect(Object.keys(feeds)).toHaveLength(2);
  expect(Object.keys(await (await openConditions(pipeline, { ...settings, negativePrompt: null })).feeds(['a cat'])))
    .toEqual(['condition/context']);
});

test('prompts are encoded once, and forgotten when there are too many others', async () => {
  const conditions = await openConditions(await loadPipeline(tiny), settings);
  await conditions.prepare(['a', 'b', 'a']);
  await conditions.feeds(['b', 'c']);
  await conditions.feeds(['a', 'c']);
  expect(encoded()).toEqual([['blur'], ['a', 'b'], ['c']]);
  await conditions.feeds(['a']);
  await conditions.prepare(Array.from({ length: REMEMBERED - 1 }, (_, i) => `other ${i}`));
  await conditions.feeds(['a']);
  await conditions.feeds(['b', 'a']);
  expect(encoded().slice(4)).toEqual([['b']]);
});

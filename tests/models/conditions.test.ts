import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { loadPipeline } from '../../src/loading/load.js';
import * as prompt from '../../src/models/prompt.js';
import { openConditions } from '../../src/models/conditions.js';
import type { HostTensor } from '../../src/graph/dtype.js';

const tiny = fileURLToPath(new URL('../fixtures/pipeline_sd1', import.meta.url));
const settings = { negativePrompt: 'blur', guidance: 3, height: 64, width: 64, compile: { threads: 1 } };

vi.mock(import('../../src/models/prompt.js'), { spy: true });
const actual = await vi.importActual<typeof prompt>('../../src/models/prompt.js');
afterEach(() => vi.mocked(prompt.openPromptEncoder).mockClear());

/** Row i of a tensor. */
const row = ({ data, shape }: HostTensor, i: number): Float32Array => {
  const size = data.length / shape[0]!;
  return (data as Float32Array).slice(i * size, (i + 1) * size);
};
test('a batch has the text states of its prompts in order, and those of the negative prompt', async () => {
  const pipeline = await loadPipeline(tiny);
  const conditions = await openConditions(pipeline, settings);
  const feeds = await conditions.feeds(['a dog', 'a cat', 'a dog']);
  const { conditions: { context } } = await prompt.encodePrompts(pipeline, ['a cat', 'a dog', 'blur'], { threads: 1 });
  const [positive, negative] = [feeds['condition/context']!, feeds['negative/context']!];
  expect([positive.shape, negative.shape]).toEqual([[3, 77, 16], [3, 77, 16]]);
  expect([0, 1, 2].map((i) => row(positive, i))).toEqual([row(context!, 1), row(context!, 0), row(context!, 1)]);
  expect([0, 1, 2].map((i) => row(negative, i))).toEqual([0, 1, 2].map(() => row(context!, 2)));
  expect(Object.keys(feeds)).toHaveLength(2);
  expect(Object.keys(await (await openConditions(pipeline, { ...settings, negativePrompt: null })).feeds(['a cat'])))
    .toEqual(['condition/context']);
});

/** Sees the encoders that are opened, what they encode and that they are let go. */
function watched(): string[] {
  const seen: string[] = [];
  vi.mocked(prompt.openPromptEncoder).mockImplementation(async (...args) => {
    seen.push('open');
    const encoder = await actual.openPromptEncoder(...args);
    return {
      encode: (prompts) => (seen.push(prompts.join(' ')), encoder.encode(prompts)),
      release: () => (seen.push('release'), encoder.release()),
    };
  });
  return seen;
}

test('prompts are encoded once, in advance by encoders that are let go of, later by some that stay', async () => {
  const conditions = await openConditions(await loadPipeline(tiny), settings);
  const seen = watched();
  await conditions.prepare(['a', 'b', 'a']);
  await conditions.feeds(['b', 'a']);
  await conditions.prepare(['b']);
  expect(seen.splice(0)).toEqual(['open', 'a b', 'release']);
  await conditions.feeds(['b', 'c']);
  await conditions.feeds(['d', 'e', 'c']);
  await conditions.feeds(['a', 'c']);
  expect(seen.splice(0)).toEqual(['open', 'c', 'd e']);
  await conditions.release();
  expect(seen).toEqual(['release']);
});

test('no more are remembered than there is room for, and those longest unused are forgotten', async () => {
  const row = 4 * 77 * 16;
  const conditions = await openConditions(await loadPipeline(tiny), { ...settings, remembered: 3 * row });
  const seen = watched();
  await conditions.feeds(['a']);
  await conditions.feeds(['b', 'c']);
  await conditions.feeds(['a', 'd']); // b is forgotten
  await conditions.feeds(['c', 'a']);
  await conditions.feeds(['b']);
  expect(seen.splice(0)).toEqual(['open', 'a', 'b c', 'd', 'b']);
  const many = Array.from({ length: 300 }, (_, i) => `p${i}`);
  await conditions.prepare(many); // what is too much is not encoded in advance
  expect(seen.splice(0)).toEqual([many.slice(0, 256).join(' '), 'release']);
  let asked = 0;
  await conditions.prepare((function* endless() {
    for (;;) yield `p${asked++ % 280}`;
  })()); // nor asked for
  expect(asked).toBe(256);
});

/** @file A prompt that is too long is treated alike wherever prompts come from: cut with a warning, or refused. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { evalCommand } from '../../src/cli/eval.js';
import { planCommand } from '../../src/cli/plan.js';
import { sampleCommand } from '../../src/cli/sample.js';
import { searchCommand } from '../../src/cli/search.js';
import { trainCommand } from '../../src/cli/train.js';
import { loadPipeline } from '../../src/loading/load.js';
import { checkPrompts } from '../../src/sampling/check-prompts.js';
import { run, scratch, tiny } from './helpers.js';

const folder = scratch();
const endless = join(folder, 'endless.txt');
beforeAll(() => writeFile(endless, `a cat\n${'cat '.repeat(3000)}\n`));

describe('of more characters than can be read', () => {
  const few = ['--model', tiny, '--prompts', endless, '--threads', '1', '--quiet'];
  const reward = ['--reward', 'symmetry'];
  const size = ['--set', 'size=64'];
  test.each([
    ['sample', () => run(sampleCommand(), ...few, '--size', '64', '--out', folder)],
    ['search', () => run(searchCommand(), ...few, ...reward, '--size', '64', '--out', folder)],
    ['train', () => run(trainCommand(), ...few, ...reward, ...size, '--out', join(folder, 'run'))],
    ['plan', () => run(planCommand(), ...few, ...reward, ...size)],
    ['eval', () => run(evalCommand(), ...few, ...reward, ...size)],
  ])('is refused by %s', async (_, command) => {
    await expect(command()).rejects.toMatchObject({
      name: 'SamplingError', message: expect.stringMatching(/^"cat cat .*…": the prompt has 1\d{4} characters; .*8192/),
    });
  });
});

test('of more tokens than the model has is told; of many, three are', async () => {
  const pipeline = await loadPipeline(tiny);
  const told = (prompts: readonly string[]): string[] => {
    const texts: string[] = [];
    checkPrompts(pipeline, prompts, (text) => texts.push(text));
    return texts;
  };
  const long = (word: string): string => `${word} ${'cat '.repeat(75)}dog`;
  expect(told(['a cat', long('a'), long('a')])).toEqual([
    expect.stringMatching(/^"a cat cat .*…" is longer than the model's 75 tokens; this is cut off: "cat dog"$/),
  ]);
  const many = told(['a', 'the', 'red', 'blue', 'green'].map(long));
  expect(many).toHaveLength(4);
  expect(many[3]).toBe('2 more prompts are longer than the model\'s 75 tokens and are cut off');
});

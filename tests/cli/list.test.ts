import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { listCommand } from '../../src/cli/list.js';
import { METHODS } from '../../src/methods/index.js';
import { bundledFolder } from '../../src/models/load.js';
import { REWARDS } from '../../src/rewards/registry.js';
import { samplers } from '../../src/schedulers/index.js';
import { attune } from '../cli-process.js';
import { run } from './helpers.js';

const listed = async (what: string): Promise<Record<string, unknown>[]> =>
  JSON.parse((await run(listCommand(), what, '--json')).stdout) as Record<string, unknown>[];

test.each([
  ['methods', METHODS.map((m) => m.name)],
  ['rewards', REWARDS.map((r) => r.name)],
  ['samplers', Object.keys(samplers)],
])('%s are all listed', async (what, names) => {
  expect((await listed(what)).map((row) => row['name'])).toEqual(names);
  const { stdout } = await run(listCommand(), what);
  const lines = stdout.trimEnd().split('\n');
  expect(lines).toHaveLength(names.length + 1);
  names.forEach((name, i) => expect(lines[i + 1]).toMatch(new RegExp(`^${name.replaceAll('+', '\\+')}\\s`)));
});

test('rewards tell whether they have a gradient', async () => {
  const rows = await listed('rewards');
  const row = (name: string) => rows.find((r) => r['name'] === name);
  expect(row('emoji-clip')).toMatchObject({ differentiable: true, options: [] });
  expect(row('jpeg-compressibility')).toMatchObject({ differentiable: false });
  expect(row('symmetry')).toMatchObject({ options: ['mirror'] });
});

test('prompt lists have the number of their prompts', async () => {
  const rows = await listed('prompts');
  expect(rows.map((row) => row['name'])).toContain('animals');
  const text = await readFile(join(bundledFolder('emoji'), 'prompts', 'animals.txt'), 'utf8');
  const prompts = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  const animals = { name: 'animals', count: prompts.length, examples: prompts.slice(0, 3) };
  expect(rows.find((row) => row['name'] === 'animals')).toEqual(animals);
});

test('models begin with the bundled one', async () => {
  expect((await listed('models'))[0]).toMatchObject({ name: 'emoji', from: ['bundled'] });
});

test('what is not there is refused with what is', async () => {
  const { code, stdout, stderr } = await attune(['list', 'things']).finished;
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toContain('models, methods, rewards, prompts, samplers');
});

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { listCommand } from '../../src/cli/list.js';
import { METHODS } from '../../src/methods/index.js';
import { emoji } from '../../src/loading/bundled.js';
import { REWARDS } from '../../src/rewards/registry.js';
import { samplers } from '../../src/schedulers/index.js';
import { SEARCHES } from '../../src/search/index.js';
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
  const text = await readFile(join(emoji.folder, 'prompts', 'animals.txt'), 'utf8');
  const prompts = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  const animals = { name: 'animals', count: prompts.length, examples: prompts.slice(0, 3) };
  expect(rows.find((row) => row['name'] === 'animals')).toEqual(animals);
});

test('models begin with the bundled one', async () => {
  expect((await listed('models'))[0]).toMatchObject({ name: 'emoji', from: ['bundled'] });
});

const settings = async (...words: string[]): Promise<Record<string, unknown>[]> =>
  JSON.parse((await run(listCommand(), ...words, '--json')).stdout) as Record<string, unknown>[];

test('the settings of a method are explained', async () => {
  const rows = await settings('methods', 'ddpo');
  expect(rows[0]).toEqual({
    name: 'method.variant', takes: 'is | sf', default: 'is', required: false, meaning: expect.stringContaining('importance sampling') as string,
  });
  expect(rows.find((row) => row['name'] === 'method.perPrompt.buffer')).toMatchObject({ takes: 'integer > 0', default: '16' });
  const { stdout } = await run(listCommand(), 'methods', 'draft');
  expect(stdout).toMatch(/^method\.k {2}all \| integer > 0, 1 by default\n {4}Last steps/m);
});

test('so are those of rewards and searches, and of runs', async () => {
  expect((await settings('rewards', 'onnx')).find((row) => row['name'] === 'pixels')).toMatchObject({ required: true });
  expect((await settings('searches', 'best-of-n')).map((row) => row['name'])).toEqual(['search.n']);
  const rows = await settings('settings');
  expect(rows.find((row) => row['name'] === 'evaluation.every')).toMatchObject({ takes: 'integer >= 0', default: '10' });
  expect(rows.find((row) => row['name'] === 'lr')).toMatchObject({ takes: 'number > 0', default: '0.0005' });
});

test('every setting of a method and a search says what it means', async () => {
  for (const [what, entries] of [['methods', METHODS], ['searches', SEARCHES], ['rewards', REWARDS]] as const) {
    for (const { name } of entries) {
      const unexplained = (await settings(what, name)).filter((row) => row['meaning'] === '').map((row) => row['name']);
      expect(unexplained, name).toEqual([]);
    }
  }
});

test('what is not there is refused with what is', async () => {
  const { code, stdout, stderr } = await attune(['list', 'things']).finished;
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toContain('models, methods, rewards, prompts, samplers');
  const misspelt = await attune(['list', 'methods', 'dradt']).finished;
  expect([misspelt.code, misspelt.stdout]).toEqual([2, '']);
  expect(misspelt.stderr).toContain('Did you mean draft');
});

test('a reader that goes away early is no error', async () => {
  const running = attune(['list', 'rewards']);
  running.child.stdout!.destroy();
  expect(await running.finished).toMatchObject({ code: 0, stderr: '' });
});

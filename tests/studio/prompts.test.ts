/** @file Prompt sets: imported by the readers of `--prompts`, written as these read them; and the picker, which shows declared roots alone. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStudio } from '../../src/studio/server.js';
import type { Studio } from '../../src/studio/server.js';
import { loadPrompts } from '../../src/training/prompts.js';
import { scratch } from '../cli/helpers.js';
import { get, post } from './ask.js';

const root = scratch();
const runs = join(root, 'runs');
const shown = join(root, 'shown');
let studio: Studio;

beforeAll(async () => {
  mkdirSync(join(shown, 'in', '.hidden'), { recursive: true });
  mkdirSync(join(root, 'shown-too'));
  writeFileSync(join(root, 'secret.txt'), 'secret\n');
  writeFileSync(join(root, 'shown-too', 'near.txt'), 'near\n');
  writeFileSync(join(shown, 'in', 'list.csv'), 'prompt,weight\na cat,2\n"a, dog",\n');
  writeFileSync(join(shown, 'in', '.hidden', 'x.txt'), 'hidden\n');
  writeFileSync(join(shown, 'in', 'program.sh'), 'x');
  symlinkSync(root, join(shown, 'out'));
  symlinkSync(join(root, 'secret.txt'), join(shown, 'in', 'link.txt'));
  studio = await openStudio({ runs, port: 0, roots: [shown] });
});
afterAll(() => studio.close());

const rows = async (set: string): Promise<unknown> => (JSON.parse((await get(studio, `/api/prompts?${new URLSearchParams({ set })}`)).text) as { rows: unknown }).rows;

test('a set is written for training and evaluation, read again, and checked', async () => {
  const given = [{ prompt: 'a <b>cat</b>', weight: 2, heldOut: false }, { prompt: 'a dog', weight: 1, heldOut: false }, { prompt: 'a bird', weight: 1, heldOut: true }];
  const answer = JSON.parse((await post(studio, '/api/prompts', { name: 'mine', rows: given })).text) as { prompts: string; heldOut: string };
  expect(await loadPrompts(answer.prompts)).toMatchObject({ prompts: ['a <b>cat</b>', 'a dog'], weights: [2, 1] });
  expect(await loadPrompts(answer.heldOut)).toMatchObject({ prompts: ['a bird'] });
  expect(await rows('mine')).toEqual(given);
  expect(JSON.parse((await get(studio, '/api/prompt-sets')).text)).toMatchObject({ own: ['mine'], bundled: expect.arrayContaining(['people']) as string[] });
  // Without held-out prompts none are left of before.
  await post(studio, '/api/prompts', { name: 'mine', rows: given.slice(0, 1) });
  expect(await rows('mine')).toEqual(given.slice(0, 1));
  for (const name of ['../x', 'a/b', '', '.', 'a.b', 'a\0']) expect((await post(studio, '/api/prompts', { name, rows: given })).status, name).toBe(400);
  for (const bad of [[], [{ prompt: ' ', weight: 1, heldOut: false }], [{ prompt: 'x', weight: -1, heldOut: false }], [{ prompt: 'x', weight: 1, heldOut: true }], [{ prompt: 'x', weight: 0, heldOut: false }]]) {
    expect((await post(studio, '/api/prompts', { name: 'bad', rows: bad })).status).toBe(400);
  }
});

test('txt, csv and jsonl are imported as the command line reads them, with the line that is wrong', async () => {
  const brought = async (ending: string, text: string): Promise<string> => (await post(studio, '/api/prompts/import', { ending, text })).text;
  const one = { prompt: 'a cat', weight: 1, heldOut: false };
  expect(JSON.parse(await brought('.txt', '# a comment\na cat\n\n'))).toEqual({ rows: [one] });
  expect(JSON.parse(await brought('.csv', 'weight,prompt\n3,a cat\n'))).toEqual({ rows: [{ ...one, weight: 3 }] });
  expect(JSON.parse(await brought('.jsonl', '{"prompt":"a cat"}\n"a dog"\n'))).toEqual({ rows: [one, { ...one, prompt: 'a dog' }] });
  const wrong = await brought('.csv', 'prompt,weight\na cat,heavy\n');
  expect(wrong).toMatch(/^list\.csv:2, column 2: weight "heavy"/);
  expect((await post(studio, '/api/prompts/import', { ending: '.sh', text: 'x' })).status).toBe(400);
});

test('the picker and the editor read below the declared roots alone, by real path', async () => {
  const listing = async (path: string): Promise<{ status: number; names: string[] }> => {
    const { status, text } = await get(studio, `/api/files?${new URLSearchParams({ kind: 'prompts', path })}`);
    return { status, names: status === 200 ? (JSON.parse(text) as { entries: { name: string }[] }).entries.map((e) => e.name) : [] };
  };
  expect(await listing('')).toEqual({ status: 200, names: ['in'] });
  expect(await listing('in')).toEqual({ status: 200, names: ['list.csv'] });
  for (const path of ['..', 'in/../..', 'out', 'in/.hidden', 'C:\\', '\\\\server\\x', 'in\0', '../shown-too']) expect((await listing(path)).status, path).toBe(404);
  expect((await get(studio, '/api/files?kind=prompts&root=1')).status).toBe(404);
  expect((await get(studio, '/api/files?kind=__proto__')).status).toBe(400);
  expect(await rows(join(shown, 'in', 'list.csv'))).toMatchObject([{ prompt: 'a cat', weight: 2 }, { prompt: 'a, dog', weight: 1 }]);
  for (const path of [join(root, 'secret.txt'), join(shown, 'in', 'link.txt'), join(shown, 'out', 'secret.txt'), join(root, 'shown-too', 'near.txt'), join(shown, 'in', '.hidden', 'x.txt'), '/etc/passwd', 'a\0', '']) {
    const { status, text } = await get(studio, `/api/prompts?${new URLSearchParams({ set: path })}`);
    expect(status, path).toBe(404);
    expect(text).not.toContain('secret');
  }
  expect(readFileSync(join(root, 'secret.txt'), 'utf8')).toBe('secret\n');
});

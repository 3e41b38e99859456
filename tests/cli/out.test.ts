/** @file Mistakes with --out, for every command that has it: told as a sentence before anything is loaded. */
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { compareCommand } from '../../src/cli/compare.js';
import { explain } from '../../src/cli/explain.js';
import { loraCommand } from '../../src/cli/lora.js';
import { pretrainCommand } from '../../src/cli/pretrain.js';
import { sampleCommand } from '../../src/cli/sample.js';
import { searchCommand } from '../../src/cli/search.js';
import { trainCommand } from '../../src/cli/train.js';
import { DiskFullError } from '../../src/formats/disk-full.js';
import { checkWritable } from '../../src/formats/writable.js';
import { run, scratch } from './helpers.js';

const root = scratch();
const recipe = join(import.meta.dirname, '..', '..', 'models', 'recipes', 'vae.yaml');
writeFileSync(join(root, 'file'), 'not a folder');
symlinkSync(join(root, 'gone'), join(root, 'link'));
symlinkSync(join(root, 'circle'), join(root, 'circle'));

const OUTS: [what: string, path: string, message: RegExp][] = [
  ['goes through a file', join(root, 'file', 'out'), /file\/out: goes through a file as if it were a folder/],
  ['a name that is too long', join(root, 'x'.repeat(300)), /is too long a name/],
  ['a new folder with a name that is too long', join(root, 'new', 'x'.repeat(300)), /is too long a name/],
  ['a link to nothing', join(root, 'link', 'out'), /goes through a link to nothing/],
  ['links in circles', join(root, 'circle', 'out'), /goes in circles through links/],
  ['no name', '', /has no name/],
];
const FOLDERS: typeof OUTS = [
  ...OUTS, ['a file', join(root, 'file'), /file: is a file, not a folder/], ['a dangling link', join(root, 'link'), /is a link to nothing/],
];

/** All else is missing as well: it is the output that is told, so nothing else was looked at. */
const COMMANDS: [name: string, command: () => Command, args: string[], outs: typeof OUTS][] = [
  ['train', trainCommand, ['--model', '/no/model', '--reward', 'symmetry'], FOLDERS],
  ['sample', sampleCommand, ['--model', '/no/model', '--prompt', 'x'], FOLDERS],
  ['search', searchCommand, ['--model', '/no/model', '--prompt', 'x', '--reward', 'symmetry'], FOLDERS],
  ['compare', compareCommand, ['--entry', 'refl', '--budget', 'updates=1'], FOLDERS],
  ['pretrain', pretrainCommand, ['--recipe', recipe, '--data', '/no/data'], FOLDERS],
  ['lora convert', loraCommand, ['convert', '/no/lora', '--to', 'kohya'], OUTS],
  ['lora convert --to peft', loraCommand, ['convert', '/no/lora', '--to', 'peft'], FOLDERS],
  ['lora scale', loraCommand, ['scale', '/no/lora', '--by', '2'], FOLDERS],
  ['lora merge', loraCommand, ['merge', '--model', '/no/model', '--lora', '/no/lora'], FOLDERS],
];

test.each(COMMANDS.flatMap(([name, command, args, outs]) => outs.map((out) => [name, ...out, command, args] as const)))(
  '%s: %s', async (_name, _what, out, message, command, args) => {
    const error: unknown = await run(command(), ...args, '--out', out).catch((e: unknown) => e);
    expect((error as Error).message).toMatch(message);
    expect(explain(error)).toEqual({ message: (error as Error).message, exitCode: 2 });
    expect(readdirSync(root).toSorted()).toEqual(['circle', 'file', 'link']);
  });

test('a folder that is read-only, and what is fine', async () => {
  const locked = join(root, 'locked');
  mkdirSync(locked, { mode: 0o555 });
  // Root may write everywhere.
  if (process.getuid?.() !== 0) await expect(checkWritable(join(locked, 'out'), 'folder')).rejects.toThrow(/may not be written by this user/);
  chmodSync(locked, 0o755);
  await checkWritable(join(root, 'new', 'deep', 'er'), 'folder');
  await checkWritable(join(root, 'new', 'deep', 'file.safetensors'), 'file');
  await checkWritable(join(root, 'file'), 'file');
  await checkWritable(locked, 'folder');
  expect([existsSync(join(root, 'new')), readdirSync(locked)]).toEqual([false, []]);
});

test('what the system refuses is a sentence; a defect of the program keeps its stack', () => {
  const system = (code: string) => Object.assign(new Error(`${code}: told by the system`), { code, path: '/a/b', syscall: 'open' });
  for (const code of ['ENOENT', 'EACCES', 'EROFS', 'EISDIR', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP', 'EEXIST', 'EMFILE']) {
    const { message, exitCode } = explain(system(code));
    expect([code, exitCode]).toEqual([code, 2]);
    expect(message).toMatch(/^\/a\/b: [^\n]+$/);
  }
  expect(explain(new DiskFullError('/a', 1, 2))).toMatchObject({ exitCode: 1, message: expect.not.stringContaining('\n') as string });
  expect(explain(new RangeError('Array buffer allocation failed')).message).toMatch(/^this takes more memory than there is/);
  const defect = explain(new TypeError('x is undefined'));
  expect(defect.exitCode).toBe(1);
  expect(defect.message).toMatch(/\n {4}at /);
});

/** @file Asking a run to stop by its folder, and what is told of one that was ended at once. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lockFolder } from '../../src/runs/lock.js';
import { standingOf } from '../../src/runs/state.js';
import { askToStop, hearStop } from '../../src/runs/stop.js';
import { scratch } from '../cli/helpers.js';
import { append, opened, SETTINGS, step } from '../studio/written-run.js';

const root = scratch();

function started(name: string, session: string): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.yaml'), SETTINGS);
  append(folder, opened(session), step(1), step(2));
  return folder;
}

test('whoever holds the folder hears the wish, once; who takes it later does not', async () => {
  mkdirSync(join(root, 'held'));
  const lock = await lockFolder(join(root, 'held'), () => {});
  const folder = started('held', lock.id);
  await expect(askToStop(started('idle', 'x'), false)).rejects.toThrow(/is not running, so there is nothing to stop/);
  let heard = 0;
  const first = hearStop(folder, lock.id, () => (heard += 1));
  expect(await standingOf(folder, true)).toMatchObject({ state: 'running', stopping: false });
  await askToStop(folder, false);
  expect(await standingOf(folder, true)).toMatchObject({ state: 'running', stopping: true });
  await expect.poll(() => heard, { timeout: 20_000 }).toBe(1);
  await first.release();
  await lock.release();
  expect(await standingOf(folder, true)).toMatchObject({ state: 'crashed', stopping: false });

  const again = await lockFolder(folder, () => {});
  const second = hearStop(folder, again.id, () => (heard += 1));
  await new Promise((resolve) => setTimeout(resolve, 900));
  expect(heard).toBe(1);
  await second.release();
  await again.release();
});

test('ended at once as asked is no crash; the same death unasked is one', async () => {
  // A process that holds a folder, as a trainer does, and hears nothing.
  const held = async (name: string): Promise<{ folder: string; end: () => void; gone: Promise<unknown> }> => {
    const folder = join(root, name);
    mkdirSync(folder);
    const code = `import { lockFolder } from ${JSON.stringify(new URL('../../dist/runs/lock.js', import.meta.url).href)};
      const { id } = await lockFolder(${JSON.stringify(folder)}, () => {}); process.stdout.write(id); setInterval(() => {}, 1e6);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
    const gone = new Promise((resolve) => child.once('exit', resolve));
    started(name, await new Promise<string>((resolve) => child.stdout.once('data', (d: Buffer) => resolve(d.toString()))));
    return { folder, end: () => void child.kill('SIGKILL'), gone };
  };
  const asked = await held('asked');
  await askToStop(asked.folder, true);
  await asked.gone;
  expect(await standingOf(asked.folder, true)).toMatchObject({ state: 'stopped', reason: 'ended at once, as asked' });
  const killed = await held('killed');
  killed.end();
  await killed.gone;
  expect(await standingOf(killed.folder, true)).toMatchObject({ state: 'crashed', reason: expect.stringContaining('without a word') as string });
});

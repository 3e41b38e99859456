/** @file The lock of a folder between real processes, and what is said of one that is held. */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { lockFolder } from '../../src/runs/lock.js';
import { scratch } from '../cli/helpers.js';

const root = scratch();
const BUILT = pathToFileURL(join(import.meta.dirname, '..', '..', 'dist', 'runs', 'lock.js')).href;
const folder = (name: string): string => {
  const path = join(root, name);
  mkdirSync(path);
  return path;
};
const silently = (): void => {};

/** The lock of a process that ended. */
async function deadLock(path: string): Promise<void> {
  const script = `import { lockFolder } from '${BUILT}'; await lockFolder(process.argv[1], () => {}); process.exit(0);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, path], { stdio: 'inherit' });
  expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(0);
}

const ROUNDS = 20;
const PROCESSES = 4;

/** Takes the folders one after another, each at a time that all processes share, and tells which it got. */
const RACER = `
  import { lockFolder } from '${BUILT}';
  const [root, rounds] = [process.argv[1], Number(process.argv[2])];
  const got = [];
  process.stdout.write('ready\\n');
  const start = await new Promise((resolve) => process.stdin.once('data', (text) => resolve(Number(text))));
  for (let i = 0; i < rounds; i++) {
    await new Promise((resolve) => setTimeout(resolve, start + 60 * i - 5 - Date.now()));
    while (Date.now() < start + 60 * i) {} // to the millisecond
    await lockFolder(root + '/' + i, () => {}).then(() => got.push(i), (error) => {
      if (error.name !== 'ConfigError' || !/is in use by process/.test(error.message)) throw error;
    });
  }
  process.stdout.write(JSON.stringify(got) + '\\n');
  process.stdin.once('data', () => process.exit(0)); // the locks are held until all have tried
`;

test('of processes that start at the same time one gets the folder, every time, whether it was free or left by a dead one', { timeout: 240_000 }, async () => {
  const place = folder('races');
  for (let i = 0; i < ROUNDS; i++) mkdirSync(join(place, String(i)));
  const dead = folder('dead');
  await deadLock(dead);
  // Every second folder has the lock of a process that is gone, each with a name of its own.
  const left = JSON.parse(readFileSync(join(dead, '.lock'), 'utf8')) as object;
  for (let i = 1; i < ROUNDS; i += 2) writeFileSync(join(place, String(i), '.lock'), JSON.stringify({ ...left, nonce: `left${i}` }));
  const racers = Array.from({ length: PROCESSES }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', RACER, place, String(ROUNDS)], { stdio: ['pipe', 'pipe', 'inherit'] }));
  const lines = racers.map((racer) => {
    const heard: string[] = [];
    const waiting: ((line: string) => void)[] = [];
    let text = '';
    racer.stdout.on('data', (data: Buffer) => {
      text += data.toString();
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        const next = waiting.shift();
        if (next) next(line);
        else heard.push(line);
      }
    });
    return (): Promise<string> => new Promise((resolve) => {
      const line = heard.shift();
      if (line === undefined) waiting.push(resolve);
      else resolve(line);
    });
  });
  for (const line of lines) expect(await line()).toBe('ready');
  const start = Date.now() + 300;
  for (const racer of racers) racer.stdin.write(String(start));
  const got = (await Promise.all(lines.map((line) => line()))).flatMap((line) => JSON.parse(line) as number[]);
  for (const racer of racers) racer.stdin.write('done');
  expect(got.toSorted((a, b) => a - b)).toEqual(Array.from({ length: ROUNDS }, (_, i) => i));
});

test('the lock of a process that ended is taken over and told; nothing else is left', async () => {
  const path = folder('left');
  await deadLock(path);
  const told: string[] = [];
  const lock = await lockFolder(path, (text) => told.push(text));
  expect(told).toEqual([expect.stringMatching(/was held by process \d+, which ended without letting go; taken over/)]);
  expect(readdirSync(path)).toEqual(['.lock']);
  await lock.release();
  expect(readdirSync(path)).toEqual([]);
});

test('one process does not get a folder twice; letting go takes away only the own lock', async () => {
  const path = folder('twice');
  const lock = await lockFolder(path, silently);
  await expect(lockFolder(path, silently)).rejects.toThrow(/is in use by this very process since .*; choose another folder/);
  await lock.check();
  writeFileSync(join(path, '.lock'), JSON.stringify({ ...JSON.parse(readFileSync(join(path, '.lock'), 'utf8')) as object, nonce: 'another' }));
  await expect(lock.check()).rejects.toThrow(/was deleted, moved or taken by another process/);
  await lock.release();
  expect(readdirSync(path)).toEqual(['.lock']);
});

test('a process whose number another one has got since is dead; one of another machine or container may live', async () => {
  const path = folder('foreign');
  const mine = await lockFolder(path, silently);
  const file = join(path, '.lock');
  const owner = JSON.parse(readFileSync(file, 'utf8')) as { born: string };
  await mine.release();
  const left = (changed: object): void => writeFileSync(file, JSON.stringify({ ...owner, nonce: 'other', ...changed }));
  left({ host: 'elsewhere', pid: 999_999_999 });
  await expect(lockFolder(path, silently)).rejects.toThrow(/process 999999999 on elsewhere since .*cannot be seen from here: if it does not, delete .*\.lock and try again/);
  left({ space: 'pid:[1]', pid: 999_999_999 });
  await expect(lockFolder(path, silently)).rejects.toThrow(`on ${hostname()}, in another container`);
  writeFileSync(file, 'no lock at all');
  await expect(lockFolder(path, silently)).rejects.toThrow(/in use by somebody unknown/);
  if (owner.born === '') return; // this system does not tell when a process began
  left({ born: `${owner.born}0` }); // this process's number, but another's birth
  await (await lockFolder(path, silently)).release();
});

test.runIf(process.platform === 'linux')('a process that has ended and that nobody has waited for holds nothing', async () => {
  const path = folder('zombie');
  // The shell becomes `sleep`, which waits for no child: the one it had begun stays behind with its number.
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 20'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const pid = Number(await new Promise<Buffer>((resolve) => parent.stdout.once('data', resolve)));
  const state = (): string => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]![0]!;
  while (state() !== 'Z') await new Promise((resolve) => setTimeout(resolve, 5));
  const live = await lockFolder(path, silently);
  const ours = JSON.parse(readFileSync(join(path, '.lock'), 'utf8')) as object;
  await live.release();
  writeFileSync(join(path, '.lock'), JSON.stringify({ ...ours, pid, born: '', nonce: 'zombie' }));
  const told: string[] = [];
  const lock = await lockFolder(path, (text) => told.push(text));
  expect(told.join()).toContain(`${pid}`);
  await lock.release();
  parent.kill();
});

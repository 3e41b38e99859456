/** @file A run whose disk fills up: it says so, loses nothing, and goes on to the same end once there is room. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import { square } from '../../src/graph/ops/arithmetic.js';
import { sum } from '../../src/graph/ops/reduce.js';
import { input } from '../../src/graph/tensor.js';
import { resolveConfig } from '../../src/training/config.js';
import { fit } from '../../src/training/pretrain/fit.js';
import type { Trainable } from '../../src/training/pretrain/fit.js';
import { silent } from '../../src/runs/progress.js';
import { openRunFolder } from '../../src/runs/folder.js';
import { attune } from '../cli-process.js';
import { limitDisk } from '../small-disk.mjs';

const FIXTURE = join(import.meta.dirname, '..', 'fixtures', 'pipeline_sd1');
const root = await mkdtemp(join(tmpdir(), 'attune-disk-full-'));
afterAll(() => rm(root, { recursive: true, force: true }));
await writeFile(join(root, 'prompts.txt'), 'a cat\na dog\n');

const SETTINGS = [
  '--model', FIXTURE, '--method', 'draft', '--reward', 'symmetry', '--prompts', join(root, 'prompts.txt'),
  '--steps', '3', '--batch', '2', '--sampling-steps', '1', '--threads', '1', '--guidance', '1',
  ...['size=32', 'checkpointEvery=1', 'evaluation.every=0', 'evaluation.prompts=1', 'evaluation.images=2', 'evaluation.sweep=[1]',
    'evaluation.heldOut=null', 'evaluation.features=null', 'evaluation.final.prompts=1', 'evaluation.final.images=2']
    .flatMap((s) => ['--set', s]),
];

const preload = pathToFileURL(join(import.meta.dirname, '..', 'small-disk.mjs')).href;
/** The environment of a command that finds so many bytes below a folder. */
const small = (folder: string, bytes: number) => ({ NODE_OPTIONS: `--import=${preload}`, SMALL_DISK: `${bytes} ${folder}` });

const files = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile()).map((e) => join(e.parentPath, e.name));
const sizeOf = (folder: string): number => files(folder).reduce((total, file) => total + statSync(file).size, 0);
const metrics = async (folder: string): Promise<object[]> => (await readFile(join(folder, 'metrics.jsonl'), 'utf8'))
  .split('\n').filter((line) => line !== '').map((line) => ({ ...(JSON.parse(line) as object), seconds: 0 }));
const lora = (folder: string): Promise<Buffer> => readFile(join(folder, 'lora', 'pytorch_lora_weights.safetensors'));

describe('training', { timeout: 300_000 }, () => {
  const whole = join(root, 'whole');
  beforeAll(async () => {
    expect(await attune(['train', ...SETTINGS, '--out', whole]).finished).toMatchObject({ code: 0 });
  }, 300_000);
  const sizeAt = (...path: string[]): number => statSync(join(whole, ...path)).size;

  test.each([
    // The first sheet lies in the event file too; half a checkpoint stands for the small files, and is too little.
    ['checkpoints/step-000002', () => 2 * sizeAt('samples', 'step-000000.png') + 1.5 * sizeAt('checkpoints', 'step-000003', 'state.safetensors')],
    ['report.html', () => sizeOf(whole) - sizeAt('report.html') / 2],
  ])('the disk has no room for %s', async (unwritten, room) => {
    const folder = join(root, `run without ${basename(unwritten)}`);
    const full = await attune(['train', ...SETTINGS, '--out', folder], small(folder, Math.round(room()))).finished;
    expect(full).toMatchObject({ code: 1 });
    expect(full.stderr).toContain(`attune: ${join(folder, unwritten)}: the disk is full (`);
    expect(full.stderr).toMatch(/ to write, .* free\)\. .* --resume/);
    expect(full.stderr).not.toMatch(/\n {4}at /);
    expect(files(folder).filter((file) => /\.tmp|\.lock/.test(file))).toEqual([]);
    const rows = await metrics(folder); // whole lines
    expect(await metrics(whole)).toEqual(expect.arrayContaining(rows));
    const resumed = await attune(['train', '--resume', folder]).finished;
    expect(resumed).toMatchObject({ code: 0 });
    expect(resumed.stderr).not.toMatch(/cannot be read/);
    expect(await metrics(folder)).toEqual(await metrics(whole));
    expect(await lora(folder)).toEqual(await lora(whole));
  });
});

test.each([0, 100])('no run is begun with %d bytes', async (bytes) => {
  const folder = join(root, `run of ${bytes} bytes`);
  limitDisk(folder, bytes);
  const begin = async (): Promise<void> => {
    const run = await openRunFolder(folder, resolveConfig({}, []), { resume: false, warn: () => {} });
    await run.begin({}).finally(() => run.close());
  };
  await expect(begin()).rejects.toThrow(/the disk is full/);
  expect(existsSync(join(folder, 'config.yaml'))).toBe(false);
  limitDisk(folder, Infinity);
  await begin();
});

test('pretraining keeps its last checkpoint and the metrics up to it', async () => {
  const folder = join(root, 'pretraining');
  const weight = input('weight', [1000]);
  const net = (): Trainable => ({
    parameters: new Map([['weight', host(new Float32Array(1000).fill(1), [1000])]]),
    symbols: new Map([['weight', weight]]), loss: sum(square(weight)), metrics: {}, feeds: () => ({}),
  });
  const options = {
    steps: 4, lr: 0.1, schedule: 'constant', warmup: 0, weightDecay: 0, clip: 1, emaDecay: 0.9, threads: 1,
    folder, resume: true, checkpointSeconds: -1, progress: silent,
  } as const;
  await fit(net(), { ...options, steps: 2 });
  const before = files(folder).toSorted();
  expect(existsSync(join(folder, 'state-0000002.safetensors'))).toBe(true);
  limitDisk(folder, sizeOf(folder) + 1000);
  await expect(fit(net(), options)).rejects.toThrow(/state-0000003\.safetensors: the disk is full/);
  expect(files(folder).toSorted()).toEqual(before);
  limitDisk(folder, Infinity);
  expect(await fit(net(), options)).toMatchObject({ step: 4 });
});

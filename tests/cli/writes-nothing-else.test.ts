/**
 * @file Commands, and the library, write into the folders that they were given and nowhere else: no identifiers, events or
 * caches in the home folder, the temporary folder or the folder they were started in.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { attune } from '../cli-process.js';
import { scratch, smallRun, tiny } from './helpers.js';

const folder = scratch();
const elsewhere = join(folder, 'elsewhere');
const here = join(elsewhere, 'here');
const home = join(elsewhere, 'home');
const given = join(folder, 'given');

/** Nothing that this process was given switches telemetry off (ONNX Runtime sends none in CI), or says where to keep things. */
const ENVIRONMENT: Readonly<Record<string, string | undefined>> = {
  ...Object.fromEntries(Object.keys(process.env).filter((name) => /^(CI|ORT_|ATTUNE_|HF_|XDG_|VITEST|npm_|GITHUB|TF_BUILD|BUILD|NODE_OPTIONS)/i.test(name)).map((name) => [name, undefined])),
  HOME: home, USERPROFILE: home, LOCALAPPDATA: home, APPDATA: home, TMPDIR: join(elsewhere, 'tmp'), TMP: join(elsewhere, 'tmp'), TEMP: join(elsewhere, 'tmp'),
};

beforeAll(async () => {
  for (const path of [here, home, join(elsewhere, 'tmp'), given]) await mkdir(path, { recursive: true });
});

async function filesElsewhere(): Promise<string[]> {
  const found = await readdir(elsewhere, { recursive: true, withFileTypes: true });
  return found.filter((entry) => !entry.isDirectory()).map(({ parentPath, name }) => join(parentPath, name));
}

test.each<[string, () => Promise<string[]>]>([
  ['sample', async () => ['--model', tiny, '--prompt', 'a cat', '--size', '64', '--sampling-steps', '2', '--threads', '1', '--out', join(given, 'out')]],
  ['train', async () => [...(await smallRun(given)), '--steps', '1', '--set', 'batch=1', '--set', 'evaluation.sweep=[]', '--out', join(given, 'run')]],
])('%s', async (command, args) => {
  const { code, stderr } = await attune([command, ...(await args())], ENVIRONMENT, here).finished;
  expect(stderr).not.toMatch(/^attune:/m);
  expect(code).toBe(0);
  expect(await filesElsewhere()).toEqual([]);
});

const LIBRARY = pathToFileURL(join(import.meta.dirname, '..', '..', 'dist', 'index.js')).href;
const COMPUTE = `
  const { compile, graph } = await import(${JSON.stringify(LIBRARY)});
  const executable = await compile({ outputs: { y: graph.square(graph.input('x', [1])) } });
  await executable.run({ x: { data: Float32Array.of(3), shape: [1], dtype: 'float32' } });
  await executable.release();
`;
const IN_A_THREAD = `
  const { Worker } = await import('node:worker_threads');
  const worker = new Worker(new URL(${JSON.stringify(`data:text/javascript,${encodeURIComponent(COMPUTE)}`)}));
  await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
`;

const node = (script: string): Promise<unknown> =>
  promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { cwd: here, env: { ...process.env, ...ENVIRONMENT } as NodeJS.ProcessEnv });

test('the library, in the main thread and in a worker after it', async () => {
  await node(COMPUTE);
  await node(COMPUTE + IN_A_THREAD);
  expect(await filesElsewhere()).toEqual([]);
});

test('the library in a worker alone is refused with the remedy, for a worker cannot switch telemetry off', async () => {
  await expect(node(IN_A_THREAD)).rejects.toThrow(/import attune in the main thread first, or set ORT_DISABLE_TELEMETRY=1/);
  expect(await filesElsewhere()).toEqual([]);
});

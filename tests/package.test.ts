/** @file The package as npm makes it: its files, its types without Node's, and what it says where ONNX Runtime cannot be installed. */
import { execFile, spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { scratch } from './cli/helpers.js';

const ROOT = join(import.meta.dirname, '..');
const folder = scratch();

interface Lock {
  packages: Record<string, { hasInstallScript?: boolean }>;
}

test('the files that README tells to run, or that commands read, are packed, and npm warns of no setting of ours', async () => {
  const { stdout, stderr } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: ROOT, encoding: 'utf8', shell: process.platform === 'win32' });
  expect(stderr).not.toContain('Unknown project config');
  const [packed] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const paths = packed.files.map(({ path }) => path);
  const readme = await readFile(join(ROOT, 'README.md'), 'utf8');
  const named = [...new Set(readme.match(/\b(?:examples|models\/recipes|bench\/compare)\/[\w.-]+\w/g))];
  expect(named).toContain('models/recipes/quality.yaml');
  const missing = named.filter((name) => !paths.some((path) => path === name || path.startsWith(`${name}/`)));
  expect(missing).toEqual([]);
  expect(paths).toEqual(expect.arrayContaining(['dist/cli/main.js', 'dist/index.d.ts', 'models/emoji/model_index.json', 'tools/cuda-download.mjs']));
  expect(paths.filter((path) => /^(src|tests|docs|models\/data)\//.test(path))).toEqual([]);
});

test('its types compile where those of Node are not in scope', async () => {
  const project = join(folder, 'typed');
  await mkdir(join(project, 'node_modules'), { recursive: true });
  await symlink(ROOT, join(project, 'node_modules', 'attune'), 'junction');
  await writeFile(join(project, 'use.ts'), `import * as attune from 'attune';\nexport const names: string[] = Object.keys(attune);\n`);
  const compilerOptions = { strict: true, noEmit: true, target: 'es2022', module: 'nodenext', lib: ['es2023', 'dom'], types: [], skipLibCheck: false };
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }));
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
  const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', project], { encoding: 'utf8' });
  expect(stdout).toBe('');
  expect(status).toBe(0);
});

/** Newer npm versions read `allowScripts`, older ones the lock file. */
test('in a checkout ONNX Runtime downloads no CUDA libraries', async () => {
  const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { allowScripts: object };
  expect(manifest.allowScripts).toMatchObject({ 'onnxruntime-node': false });
  const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as Lock;
  expect(lock.packages['node_modules/onnxruntime-node']).toBeDefined();
  expect(lock.packages['node_modules/onnxruntime-node']!.hasInstallScript).toBeUndefined();
});

interface Said {
  code: number;
  stderr: string;
}

/** What the script before the install says about this index, outside a checkout and without settings. */
async function asked(index: string, env: Readonly<Record<string, string>> = {}): Promise<Said> {
  const script = join(folder, 'attune', 'tools', 'cuda-download.mjs');
  await cp(join(ROOT, 'tools', 'cuda-download.mjs'), script);
  return promisify(execFile)(process.execPath, [script, index], { cwd: folder, env: { PATH: process.env['PATH'], ...env } })
    .then(({ stderr }) => ({ code: 0, stderr }), ({ code, stderr }: Said) => ({ code, stderr }));
}

test.runIf(process.platform === 'linux' && process.arch === 'x64')('where the CUDA download is blocked, installing says what to set', async () => {
  let status = 200;
  const server = createServer((_, response) => response.writeHead(status).end('{}')).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const index = `http://127.0.0.1:${(server.address() as AddressInfo).port}/index.json`;
  expect(await asked(index)).toEqual({ code: 0, stderr: '' });
  status = 403;
  const refused = await asked(index);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/cannot be reached \(HTTP 403\)[^]*ONNXRUNTIME_NODE_INSTALL=skip npm install attune/);
  await new Promise((resolve) => server.close(resolve));
  const gone = await asked(index);
  expect(gone.code).toBe(1);
  expect(gone.stderr).toContain('(ECONNREFUSED)');
  for (const [name, value] of [['ONNXRUNTIME_NODE_INSTALL', 'skip'], ['npm_config_local_prefix', folder]] as const) {
    expect(await asked(index, { [name]: value })).toEqual({ code: 0, stderr: '' });
  }
});

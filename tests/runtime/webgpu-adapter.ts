/**
 * @file A GPU for tests: the machine's own, or SwiftShader, the software driver in Debian's `chromium` package. Drivers
 * may crash, so what uses one runs in a process of its own.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json';

/** What must be set for the machine's own driver, and for SwiftShader; tests/build.ts has set where Vulkan's loader is. */
const ENVIRONMENTS: readonly Readonly<Record<string, string>>[] = [
  {},
  ...(existsSync(SWIFTSHADER) ? [{ VK_ICD_FILENAMES: SWIFTSHADER, XDG_RUNTIME_DIR: process.env['XDG_RUNTIME_DIR'] ?? tmpdir() }] : []),
];

const PROBE = `
  const from = (path) => import(new URL(path, ${JSON.stringify(pathToFileURL(resolve('dist')).href)} + '/'));
  const { openGpu } = await from('runtime/gpu-buffers.js');
  await openGpu();
  process.exit(0);
`;

const works = (env: Readonly<Record<string, string>>): boolean =>
  spawnSync(process.execPath, ['--input-type=module', '-e', PROBE], { env: { ...process.env, ...env }, timeout: 60_000 }).status === 0;

/** The variables with which there is a GPU, or undefined; says so then. */
export function gpuEnvironment(): Readonly<Record<string, string>> | undefined {
  const found = ENVIRONMENTS.find(works);
  if (!found) console.warn(`WebGPU is not tested: there is no adapter, and no ${SWIFTSHADER} (apt-get install chromium)`);
  return found;
}

/**
 * Runs a program of this folder with a GPU.
 *
 * @returns the JSON lines that it wrote
 * @throws Error with what it said if it fails or a signal ends it
 */
export function onGpu(env: Readonly<Record<string, string>>, program: string, args: readonly string[] = []): Promise<unknown[]> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, ['--expose-gc', join(import.meta.dirname, program), ...args], { env: { ...process.env, ...env } });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (d: Buffer) => (stdout += d.toString()));
    child.stderr.on('data', (d: Buffer) => (stderr += d.toString()));
    child.on('close', (code, signal) => {
      if (code === 0) done(stdout.trim().split('\n').map((line) => JSON.parse(line) as unknown));
      else fail(new Error(`${program} ended with ${signal ?? code} after ${stdout}${stderr}`));
    });
  });
}

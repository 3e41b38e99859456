/** @file `attune doctor` without a GPU, and what is said when the computing process is ended by a fault. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { attune } from '../cli-process.js';

/** No driver of Vulkan is found. */
const BARE = { VK_ICD_FILENAMES: '/nonexistent', VK_DRIVER_FILES: '/nonexistent' };

interface Report {
  onnxruntime: string;
  providers: string[];
  devices: { device: string; works: boolean; failed: string | null; operators: unknown[] }[];
  conclusions: string[];
}

test.runIf(process.platform === 'linux')('without a driver it says what to install', async () => {
  const { code, stdout } = await attune(['doctor', '--quick', '--json'], BARE).finished;
  expect(code).toBe(0);
  const report = JSON.parse(stdout) as Report;
  expect(report.onnxruntime).toMatch(/^1\.30\./);
  expect(report.providers).toContain('cpu');
  expect(report.conclusions[0]).toBe('cpu works here.');
  const webgpu = report.devices.find(({ device }) => device === 'webgpu')!;
  expect(webgpu).toMatchObject({ works: false, operators: [] });
  expect(report.conclusions.join('\n')).toMatch(/webgpu cannot be used here\. Cannot use webgpu: Failed to get a WebGPU adapter: .*libvulkan1/);
});

test.runIf(process.platform === 'linux')('a device that was asked for and does not work is an error', async () => {
  const { code, stderr } = await attune(['doctor', '--quick', '--device', 'webgpu'], BARE).finished;
  expect(code).toBe(2);
  expect(stderr).toMatch(/attune: webgpu cannot be used here/);
});

test.runIf(process.platform === 'linux')('a fault of a driver ends the command with a sentence and code 1', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'attune-doctor-'));
  const running = attune(['train', '--out', join(folder, 'run'), '--threads', '1']);
  await running.until('loading model');
  const { pid } = running.child;
  const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
  process.kill(child, 'SIGSEGV');
  const { code, stderr } = await running.finished;
  await rm(folder, { recursive: true });
  expect(code).toBe(1);
  expect(stderr).toMatch(/ended by SIGSEGV: a fault in ONNX Runtime or in a driver.*train --resume DIR.*--device cpu.*attune doctor/s);
});

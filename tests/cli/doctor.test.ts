/** @file `attune doctor` without a GPU, and what is said when the computing process is ended by a fault. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { explain } from '../../src/cli/explain.js';
import { deviceFailure } from '../../src/runtime/device-failure.js';
import type { Device } from '../../src/runtime/device.js';
import { attune } from '../cli-process.js';
import { tiny } from './helpers.js';

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

test.runIf(process.platform === 'linux')('a fault of a driver ends a run with a sentence, its last checkpoint and code 1', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'attune-doctor-'));
  const run = join(folder, 'run');
  const saved = join(run, 'checkpoints', 'step-000001');
  const brief = { checkpointEvery: 1, size: 32, samplingSteps: 2, 'evaluation.prompts': 1, 'evaluation.images': 2, 'evaluation.features': 'null', 'evaluation.heldOut': 'null' };
  const settings = Object.entries(brief).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  const running = attune(['train', '--out', run, '--threads', '1', '--model', tiny, '--reward', 'symmetry', '--method', 'refl', '--batch', '2', '--guidance', '1', ...settings]);
  while (!existsSync(saved)) await Promise.race([setTimeout(50), running.finished.then(({ stderr }) => { throw new Error(stderr); })]);
  const { pid } = running.child;
  const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
  process.kill(child, 'SIGSEGV');
  const { code, stderr } = await running.finished;
  await rm(folder, { recursive: true });
  expect(code).toBe(1);
  expect(stderr).toMatch(/ended by SIGSEGV: a fault in ONNX Runtime or in a driver.*--device cpu.*attune doctor.*step-00000\d is saved, go on from it with: attune train --resume .*run\n$/s);
});

test('a GPU that fails in the middle of its work: no memory, tensors too large, gone', () => {
  const of = (text: string, device: Device = 'webgpu'): string => explain(deviceFailure(device, new Error(text))).message;
  // As ONNX Runtime 1.30 threw them on SwiftShader, and as CUDA's provider words them.
  expect(of('WebGPU validation failed. [Invalid Buffer (unlabeled)] is invalid due to a previous error.\n - While validating')).toMatch(/memory is used up .*--microbatch.*--device cpu/s);
  expect(of('WebGPU validation failed. Buffer size (1600000000) exceeds the max buffer size limit (1073741824).')).toMatch(/one tensor takes 1526 MiB, and this adapter has no buffers above 1024 MiB/);
  expect(of('CUDA failure 2: out of memory ; GPU=0 ; hostname=x', 'cuda')).toMatch(/cuda: the device's memory is used up/);
  expect(of('Failed to download data from buffer: Device is lost.')).toMatch(/the device is gone .*attune doctor/s);
  expect(explain(deviceFailure('webgpu', new Error('Device is lost'))).exitCode).toBe(1);
  const other = new Error('shapes do not fit');
  expect(deviceFailure('webgpu', other)).toBe(other);
});

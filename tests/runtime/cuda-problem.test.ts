/** @file What keeps CUDA from working is told in words, with the remedy: by ONNX Runtime's messages, over folders of fake libraries. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { cudaProblem } from '../../src/runtime/cuda-problem.js';
import { installedCuda } from '../../src/machine/installed-cuda.js';
import { availableDevices, createSession } from '../../src/runtime/device.js';

const folder = mkdtempSync(join(tmpdir(), 'attune-cuda-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
mkdirSync(join(folder, 'cuda-13.0', 'lib64'), { recursive: true });
mkdirSync(join(folder, 'lib64'));
writeFileSync(join(folder, 'lib64', 'libcublasLt.so.13'), '');

const load = (library: string): string =>
  `/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:1844 Failed to load library libonnxruntime_providers_cuda.so with error: ${library}: cannot open shared object file: No such file or directory`;

describe('CUDA', () => {
  test.each([
    [load('libcublasLt.so.12'), /libcublasLt\.so\.12 is missing: it needs CUDA 12, and no other version serves .* pip install nvidia-cublas-cu12/],
    [load('libcudnn.so.9'), /libcudnn\.so\.9 is missing: it needs cuDNN 9 for CUDA 12/],
    [load('libonnxruntime_providers_cuda.so'), /libonnxruntime_providers_cuda\.so, ONNX Runtime's CUDA provider, is missing\. ONNXRUNTIME_NODE_INSTALL=cuda12/],
    ['libonnxruntime_providers_cuda.so with error: /x/libcublas.so.12: invalid ELF header', /a library is damaged or of another version/],
    ['libonnxruntime_providers_cuda.so with error: undefined symbol: _ZN11onnxruntime', /a library is damaged or of another version/],
    ["libstdc++.so.6: version `GLIBCXX_3.4.30' not found", /a library is damaged or of another version/],
    ['CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=0', /driver is older than CUDA 12 needs/],
    ['CUDA failure 100: no CUDA-capable device is detected ; GPU=-1', /no NVIDIA card, or CUDA_VISIBLE_DEVICES hides it/],
    ['CUDA failure 209: no kernel image is available for execution on the device', /no code for the card's generation/],
  ])('%s', (reason, told) => {
    expect(cudaProblem(reason)).toMatch(told);
  });

  test('which versions are here, by folders and libraries; other reasons are left alone', () => {
    expect(installedCuda([folder])).toEqual([13]);
    expect(installedCuda([join(folder, 'none')])).toEqual([]);
    expect(cudaProblem('the graph has no outputs')).toBeNull();
  });

  test('a session says it as an error of the device', async () => {
    if (!availableDevices().includes('cuda')) return void await expect(createSession(new Uint8Array(), 'cuda', {})).rejects.toThrow(/has no cuda provider/);
    const create = vi.spyOn(InferenceSession, 'create').mockRejectedValue(new Error(load('libcudnn.so.9')));
    await expect(createSession(new Uint8Array(), 'cuda', {})).rejects.toThrow(/^Cannot use cuda: libcudnn\.so\.9 is missing.*--device webgpu or cpu\.$/);
    create.mockRestore();
  });
});

/** @file Every operator of a training step has a kernel of ONNX Runtime's WebGPU provider: none falls back to the CPU. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gpuEnvironment } from './webgpu-adapter.js';

const environment = gpuEnvironment();

/** What ONNX Runtime's log says of where the operators of the last session are. */
function placements(log: string): string[] {
  const lines = [...log.matchAll(/(All nodes|Node\(s\)) placed on \[(\w+)\]\. Number of nodes: (\d+)/g)];
  const last = lines.findLastIndex(([, which]) => which === 'All nodes');
  return lines.slice(Math.max(0, last)).map(([, , provider, count]) => `${provider}: ${Number(count) > 1000 ? 'thousands' : count!}`);
}

describe.skipIf(!environment)('operators of a training step on the GPU', () => {
  // The graph is opened, not run, so it takes an adapter without shader-f16 too, where half precision is refused.
  test.each(['float32', 'mixed'])('%s', (precision) => {
    const folder = mkdtempSync(join(tmpdir(), 'attune-placement-'));
    // To a file: Node makes a pipe non-blocking, and ONNX Runtime stops writing for good once the pipe was full for a moment.
    const log = join(folder, 'log');
    const file = openSync(log, 'w');
    const { status, signal } = spawnSync(process.execPath, [join(import.meta.dirname, 'webgpu-placement.mjs'), precision], {
      env: { ...process.env, ...environment }, stdio: ['ignore', 'ignore', file],
    });
    closeSync(file);
    const stderr = readFileSync(log, 'utf8');
    rmSync(folder, { recursive: true });
    if (precision === 'mixed' && status !== 0) expect(stderr).toMatch(/DeviceError: Cannot use half precision on webgpu/);
    else {
      expect(status ?? signal, stderr.slice(-2000)).toBe(0);
      expect(placements(stderr)).toEqual(['WebGpuExecutionProvider: thousands']);
    }
  });
});

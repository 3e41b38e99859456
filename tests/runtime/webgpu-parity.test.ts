/**
 * @file Updates on WebGPU are the CPU's. SwiftShader compiles every kernel anew, so one method is tried on the smallest
 * model; ATTUNE_WEBGPU=all tries all of them on each family, full fine-tuning and checkpointing (tools/device-matrix.mjs).
 */
import { describe, expect, test } from 'vitest';
import { METHODS } from '../../src/methods/index.js';
import { gpuEnvironment, onGpu } from './webgpu-adapter.js';

interface Line {
  method: string;
  lossError: number;
  gradientError: number;
  parameters: number;
  left: number;
}

const environment = gpuEnvironment();
const everything = process.env['ATTUNE_WEBGPU'] === 'all';
const ALL = METHODS.map(({ name: method }) => ({ method }));
const CASES: [what: string, rows: object[]][] = everything
  ? ['sd1', 'sd2', 'sdxl'].map((model) => [model, [...ALL, { method: 'draft', train: 'full' }, { method: 'draft', checkpointing: true }].map((row) => ({ model, ...row }))])
  : [['sd1', [{ method: 'refl' }]]];

describe.skipIf(!environment)('a whole Stable Diffusion on the GPU', () => {
  test.each(CASES)('%s', async (_, rows) => {
    const lines = (await onGpu(environment!, 'webgpu-parity.mjs', rows.map((row) => JSON.stringify(row)))) as Line[];
    expect(lines).toHaveLength(rows.length);
    for (const { method, lossError, gradientError, parameters, left } of lines) {
      expect(lossError, method).toBeLessThan(1e-3);
      expect(gradientError, method).toBeLessThan(1e-3);
      expect(parameters).toBeGreaterThan(1000);
      expect(left, 'buffers that nobody released').toBe(0);
    }
  }, everything ? 3_600_000 : 600_000);
});

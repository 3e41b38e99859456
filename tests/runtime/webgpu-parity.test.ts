/**
 * @file Updates on WebGPU are the CPU's. SwiftShader compiles every kernel anew, so one method is tried; ATTUNE_WEBGPU=all
 * tries all of them, full fine-tuning and checkpointing.
 */
import { describe, expect, test } from 'vitest';
import { METHODS } from '../../src/methods/index.js';
import { gpuEnvironment, onGpu } from './webgpu-adapter.js';

interface Line {
  name: string;
  lossError: number;
  gradientError: number;
  parameters: number;
  left: number;
}

const environment = gpuEnvironment();
const everything = process.env['ATTUNE_WEBGPU'] === 'all';
const CASES: [kind: string, methods: string[]][] = [['lora', everything ? METHODS.map((m) => m.name) : ['refl']]];
if (everything) CASES.push(['full', ['draft']], ['checkpointing', ['draft']]);

describe.skipIf(!environment)('a whole Stable Diffusion on the GPU', () => {
  test.each(CASES)('%s', async (kind, methods) => {
    const lines = (await onGpu(environment!, 'webgpu-parity.mjs', [kind, ...methods])) as Line[];
    expect(lines.map(({ name }) => name)).toEqual(methods);
    for (const { name, lossError, gradientError, parameters, left } of lines) {
      expect(lossError, name).toBeLessThan(1e-3);
      expect(gradientError, name).toBeLessThan(1e-3);
      expect(parameters).toBeGreaterThan(1000);
      expect(left, 'buffers that nobody released').toBe(0);
    }
  }, everything ? 3_600_000 : 600_000);
});

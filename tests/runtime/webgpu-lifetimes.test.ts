/** @file What lies on the GPU outlives sessions in any order, is shared, is freed, and never takes the process along. */
import { describe, expect, test } from 'vitest';
import { gpuEnvironment, onGpu } from './webgpu-adapter.js';

interface Finding {
  what: string;
  shared?: { buffers: number; bytes: number };
  error?: number;
  left?: number;
  refused?: (string | null)[];
  runs?: number;
  sessions?: number;
  crossed?: number[];
  changed?: boolean[];
  half?: boolean;
  precision?: string;
  said?: string[];
  refusal?: string | null;
  reason?: string | null;
}

const environment = gpuEnvironment();
const BYTES = 64 * 64 * 4;
const MB = 2 ** 20;

describe.skipIf(!environment)('buffers on the GPU', () => {
  test('two executables over one weight, either released first, failures between, many runs', async () => {
    const findings = (await onGpu(environment!, 'webgpu-lifetimes.mjs')) as Finding[];
    const [first, second, derived, failures, copies, half, large, growth] = findings as [Finding, Finding, Finding, Finding, Finding, Finding, Finding, Finding];
    for (const finding of [first, second]) expect(finding).toMatchObject({ shared: { buffers: 1, bytes: BYTES }, left: 0 });
    expect(derived.shared).toEqual({ buffers: 2, bytes: 2 * BYTES });
    for (const { what, error } of findings.slice(0, 4)) expect(error, what).toBeLessThan(1e-4);
    expect(failures.refused).toEqual([expect.stringMatching(/input w takes/), expect.stringMatching(/input x .* was not given/), 'interrupted']);
    expect(failures.left).toBe(0);
    // A run that feeds nothing new uploads nothing; a change of one number is seen.
    expect(copies).toMatchObject({ crossed: [BYTES, 0, BYTES, 0], changed: [true, true, true], left: 0 });
    expect(half.precision).toBe(half.half ? 'mixed' : 'float32');
    expect(half.said).toEqual([expect.stringMatching(half.half ? /computes in float16/ : /no shader-f16/)]);
    if (!half.half) expect(half.refusal).toMatch(/^DeviceError: Cannot use half precision on webgpu.*--precision float32/);
    // 1.6 GB: lavapipe and cards of today may hold it.
    if (large.reason) expect(large.reason).toMatch(/^DeviceFailure: webgpu: .*--microbatch.*--device cpu/);
    expect(large.error).toBeLessThan(1e-4);
    // 300 runs copy 5 MB each way; 100 sessions of the CPU keep about 4 MB too.
    expect(growth.runs).toBeLessThan(4 * MB);
    expect(growth.sessions).toBeLessThan(16 * MB);
    expect(growth.left).toBe(0);
  });
});

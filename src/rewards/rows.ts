/** @file Batches cut out of a tensor of many images. */
import { host, sizeOf } from '../graph/dtype.js';
import type { HostTensor } from '../graph/dtype.js';

/**
 * Rows [start, start + count) of a float32 tensor's first axis; what lies beyond its end repeats the last row. Without
 * such repeats the numbers are shared, not copied.
 */
export function takeRows(tensor: HostTensor, start: number, count: number): HostTensor {
  const [n, ...rest] = tensor.shape as [number, ...number[]];
  const size = sizeOf(rest);
  const data = tensor.data as Float32Array;
  if (start + count <= n) return host(data.subarray(start * size, (start + count) * size), [count, ...rest]);
  const rows = new Float32Array(count * size);
  for (let i = 0; i < count; i++) {
    const at = Math.min(start + i, n - 1) * size;
    rows.set(data.subarray(at, at + size), i * size);
  }
  return host(rows, [count, ...rest]);
}

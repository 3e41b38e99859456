/** @file Batches cut out of a tensor of many images, and put together again. */
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

/** The rows of several tensors of equal row shape, one after the other. @throws Error for none */
export function joinRows(parts: readonly HostTensor[]): HostTensor {
  const first = parts[0];
  if (!first) throw new Error('there are no rows to join');
  const data = new Float32Array(parts.reduce((n, part) => n + part.data.length, 0));
  parts.reduce((at, part) => (data.set(part.data as Float32Array, at), at + part.data.length), 0);
  return host(data, [parts.reduce((n, part) => n + part.shape[0]!, 0), ...first.shape.slice(1)]);
}

/** `f` over all rows, `batch` at a time (the last batch filled up with its last row), and its rows joined. */
export async function inBatches(
  tensor: HostTensor, batch: number, f: (rows: HostTensor) => Promise<HostTensor>,
): Promise<HostTensor> {
  const count = tensor.shape[0]!;
  const parts: HostTensor[] = [];
  for (let start = 0; start < count; start += batch) {
    parts.push(takeRows(await f(takeRows(tensor, start, batch)), 0, Math.min(batch, count - start)));
  }
  return joinRows(parts);
}

/** Picture i of [N, 3, H, W] as [3, H, W], on the same numbers. */
export function imageAt(images: HostTensor, i: number): HostTensor {
  const { data, shape: [, ...shape] } = takeRows(images, i, 1);
  return host(data, shape);
}

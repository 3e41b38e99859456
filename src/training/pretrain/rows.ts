/** @file Rows of a float32 table. */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import { values } from '../parameters.js';

/** Rows `indices` of a table [N, ...] → [indices.length, ...]. */
export function takeRows(table: HostTensor, indices: readonly number[]): HostTensor {
  const width = table.data.length / table.shape[0]!;
  const all = values(table);
  const data = new Float32Array(indices.length * width);
  indices.forEach((index, i) => data.set(all.subarray(index * width, (index + 1) * width), i * width));
  return host(data, [indices.length, ...table.shape.slice(1)]);
}

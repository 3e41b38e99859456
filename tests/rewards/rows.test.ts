import { expect, test } from 'vitest';
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { inBatches, joinRows, takeRows } from '../../src/rewards/rows.js';

const rows = (count: number): HostTensor => host(Float32Array.from({ length: count * 2 }, (_, i) => i), [count, 2]);

test('rows taken apart and joined again are the same', () => {
  const all = rows(5);
  expect(joinRows([takeRows(all, 0, 2), takeRows(all, 2, 3)])).toEqual(all);
  expect(() => joinRows([])).toThrow(/no rows/);
});

test.each([1, 4, 5, 7])('in batches of %i every row goes through once, and a filled-up batch gives no more', async (batch) => {
  const sizes: number[] = [];
  const doubled = await inBatches(rows(5), batch, async ({ data, shape }) => {
    sizes.push(shape[0]!);
    return host(Float32Array.from(data as Float32Array, (v) => 2 * v), shape);
  });
  expect(doubled).toEqual(host(Float32Array.from({ length: 10 }, (_, i) => 2 * i), [5, 2]));
  expect(sizes).toEqual(new Array(Math.ceil(5 / batch)).fill(batch));
});

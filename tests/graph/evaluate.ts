/** @file Runs a small graph once. */
import type { HostTensor } from '../../src/graph/dtype.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { compile } from '../../src/runtime/compile.js';

/** The values of `outputs` as plain numbers. */
export async function evaluate<O extends string>(
  outputs: Readonly<Record<O, Tensor>>, feeds: Readonly<Record<string, HostTensor>> = {},
): Promise<Record<O, number[]>> {
  const executable = await compile({ outputs });
  try {
    const values = Object.entries<HostTensor>(await executable.run(feeds));
    return Object.fromEntries(values.map(([k, v]) => [k, Array.from(v.data as ArrayLike<number | bigint>, Number)])) as Record<O, number[]>;
  } finally {
    await executable.release();
  }
}

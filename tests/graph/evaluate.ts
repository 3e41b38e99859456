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
    const plain = values.map(([name, { data }]) => [name, Array.from(data as ArrayLike<number | bigint>, Number)]);
    return Object.fromEntries(plain) as Record<O, number[]>;
  } finally {
    await executable.release();
  }
}

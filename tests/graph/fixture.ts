/** @file Reads the engine's fixtures: inputs, outputs and gradients as PyTorch computed them. */
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '../../src/formats/safetensors.js';
import { readAll } from '../../src/formats/weights.js';
import type { HostTensor } from '../../src/graph/dtype.js';

export interface Fixture<M> {
  readonly meta: M;
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** `tests/fixtures/<name>.safetensors` with the JSON of its metadata. */
export async function readFixture<M>(name: string): Promise<Fixture<M>> {
  const source = await openSafetensors(fileURLToPath(new URL(`../fixtures/${name}.safetensors`, import.meta.url)));
  try {
    return { meta: JSON.parse(source.metadata['fixture']!) as M, tensors: await readAll(source) };
  } finally {
    await source.close();
  }
}

/** The tensors whose names start with `prefix`, without it. */
export function under(tensors: ReadonlyMap<string, HostTensor>, prefix: string): Map<string, HostTensor> {
  return new Map([...tensors].filter(([k]) => k.startsWith(prefix)).map(([k, v]) => [k.slice(prefix.length), v]));
}

const largest = (values: Iterable<number>): number => {
  let most = 0;
  for (const v of values) if (!(Math.abs(v) <= most)) most = Math.abs(v);
  return most;
};

/** Largest difference, in units of the largest number of `scale`. */
export function relativeError(found: HostTensor, expected: HostTensor, scale = expected): number {
  const same = String(found.shape) === String(expected.shape);
  if (!same) throw new Error(`shape ${found.shape} instead of ${expected.shape}`);
  const numbers = (t: HostTensor): Float32Array => t.data as Float32Array;
  return largest(numbers(expected).map((v, i) => numbers(found)[i]! - v)) / largest(numbers(scale));
}

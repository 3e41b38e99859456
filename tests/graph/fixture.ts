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

/** Largest difference, in units of the largest expected number. */
export function relativeError(found: HostTensor, expected: HostTensor): number {
  if (String(found.shape) !== String(expected.shape)) throw new Error(`shape ${found.shape} instead of ${expected.shape}`);
  let [difference, size] = [0, 0];
  for (let i = 0; i < expected.data.length; i++) {
    const [a, b] = [Number(found.data[i]), Number(expected.data[i])];
    difference = Number.isNaN(a) ? NaN : Math.max(difference, Math.abs(a - b));
    size = Math.max(size, Math.abs(b));
  }
  return difference / size;
}

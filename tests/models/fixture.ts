/** @file Fixtures of the reference libraries: `in.*`, `param.*`, `out.*`, `cotangent.*`, `grad.*`. */
import { expect } from 'vitest';
import { readAll } from '../../src/formats/weights.js';
import { openSafetensors } from '../../src/formats/safetensors.js';
import type { HostTensor } from '../../src/graph/dtype.js';

export interface Fixture {
  meta: Record<string, unknown>;
  tensors: Map<string, HostTensor>;
  /** Tensors whose name starts with `prefix`, without it. */
  part(prefix: string): Map<string, HostTensor>;
  get(name: string): HostTensor;
}

export async function loadFixture(name: string): Promise<Fixture> {
  const source = await openSafetensors(new URL(`../fixtures/${name}.safetensors`, import.meta.url).pathname);
  const tensors = await readAll(source);
  await source.close();
  return {
    meta: JSON.parse(source.metadata['fixture']!) as Record<string, unknown>,
    tensors,
    part: (prefix) => new Map([...tensors].filter(([k]) => k.startsWith(prefix)).map(([k, v]) => [k.slice(prefix.length), v])),
    get: (key) => {
      const value = tensors.get(key);
      if (!value) throw new Error(`fixture ${name} has no ${key}`);
      return value;
    },
  };
}

/** Largest absolute difference. */
export function maxError(actual: HostTensor, expected: HostTensor): number {
  expect(actual.shape).toEqual(expected.shape);
  return largest(Array.from(expected.data as ArrayLike<number | bigint>, (v, i) => Number(actual.data[i]) - Number(v)));
}

/** Largest difference over the largest reference value; values below 0.01 are rounding (a key bias has no gradient). */
export function relativeError(actual: HostTensor, expected: HostTensor): number {
  return maxError(actual, expected) / Math.max(0.01, largest(Array.from(expected.data as ArrayLike<number | bigint>, Number)));
}

const largest = (values: readonly number[]): number => values.reduce((worst, v) => Math.max(worst, Math.abs(v)), 0);

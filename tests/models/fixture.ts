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
    part(prefix) {
      const inside = [...tensors].filter(([key]) => key.startsWith(prefix));
      return new Map(inside.map(([key, value]) => [key.slice(prefix.length), value]));
    },
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
  return numbers(expected).reduce((worst, v, i) => Math.max(worst, Math.abs(Number(actual.data[i]) - v)), 0);
}

/**
 * Compares gradients `grad.<name>`: the largest error of each within 1e-3 of its largest value. Below 0.01 all is
 * rounding: the gradient by a key bias is zero.
 */
export function expectGradients(actual: Record<string, HostTensor>, expected: ReadonlyMap<string, HostTensor>): void {
  for (const [name, reference] of expected) {
    const largest = numbers(reference).reduce((top, v) => Math.max(top, Math.abs(v)), 0.01);
    expect(maxError(actual[`grad.${name}`]!, reference) / largest, `gradient by ${name}`).toBeLessThan(1e-3);
  }
}

const numbers = (t: HostTensor): number[] => Array.from(t.data as ArrayLike<number | bigint>, Number);

/** @file Weights that tools/reference/measures.py makes too, from their names and places alone. */
import { crc32 } from 'node:zlib';
import { host, sizeOf } from '../../src/graph/dtype.js';
import type { HostTensor, Shape } from '../../src/graph/dtype.js';

/** Uniform numbers in [−1, 1) by a 32-bit hash of index and name. */
export function counter(name: string, shape: Shape): Float32Array {
  const start = crc32(name);
  const u = new Float32Array(sizeOf(shape));
  for (let i = 0; i < u.length; i++) {
    let x = (Math.imul(i, 0x9e3779b1) + start) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0;
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0;
    u[i] = ((x ^ (x >>> 16)) >>> 0) / 2 ** 31 - 1;
  }
  return u;
}

/** One weight: matrices and kernels scaled by fan-in, gains and variances near 1, all else small. */
export function counterWeight(name: string, shape: Shape): HostTensor {
  const u = counter(name, shape);
  if (name.startsWith('lin')) return host(u.map(Math.abs), shape);
  if (shape.length >= 2) {
    const scale = Math.fround(Math.sqrt(6 / sizeOf(shape.slice(1))));
    for (let i = 0; i < u.length; i++) u[i]! *= scale;
    return host(u, shape);
  }
  return host(u.map(/weight$|running_var$/.test(name) ? (v) => 1 + Math.fround(0.4) * v : (v) => Math.fround(0.2) * v), shape);
}

export const counterWeights = (shapes: ReadonlyMap<string, Shape>): Map<string, HostTensor> =>
  new Map([...shapes].map(([name, shape]) => [name, counterWeight(name, shape)]));

/** @file Sets of named float32 parameters, and the arithmetic that training does on them. */
import type { HostTensor } from '../graph/dtype.js';
import { zeros } from '../graph/dtype.js';

/** Named float32 tensors: trained weights, their gradients, or optimiser moments. */
export type Parameters = ReadonlyMap<string, HostTensor>;

/** The numbers of a float32 tensor. @throws Error for another dtype. */
export function values(tensor: HostTensor): Float32Array {
  if (!(tensor.data instanceof Float32Array)) throw new Error(`expected float32 numbers, got ${tensor.dtype}`);
  return tensor.data;
}

export function zerosLike(parameters: Parameters): Map<string, HostTensor> {
  return new Map([...parameters].map(([name, p]) => [name, zeros(p.shape)]));
}

export function copyOf(parameters: Parameters): Map<string, HostTensor> {
  return new Map([...parameters].map(([name, p]) => [name, { ...p, data: values(p).slice() }]));
}

/** √Σ x² over all parameters, accumulated in float64. */
export function globalNorm(parameters: Parameters): number {
  let total = 0;
  for (const p of parameters.values()) {
    const x = values(p);
    for (let i = 0; i < x.length; i++) total += x[i]! * x[i]!;
  }
  return Math.sqrt(total);
}

/** Scales gradients in place so that their global norm is at most `limit`; returns the norm before. */
export function clipNorm(gradients: Parameters, limit: number): number {
  const norm = globalNorm(gradients);
  if (norm > limit) {
    const factor = limit / norm;
    for (const g of gradients.values()) {
      const x = values(g);
      for (let i = 0; i < x.length; i++) x[i]! *= factor;
    }
  }
  return norm;
}

/** Sets parameters in place. */
export function loadParameters(parameters: Parameters, from: Parameters): void {
  for (const [name, t] of parameters) values(t).set(values(from.get(name)!));
}

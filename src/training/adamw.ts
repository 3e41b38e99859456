/** @file AdamW (Loshchilov & Hutter 2019) as a pair of functions over a state value. */
import type { HostTensor } from '../graph/dtype.js';
import { values, zerosLike } from './parameters.js';
import type { Parameters } from './parameters.js';

export interface AdamWOptions {
  beta1: number;
  beta2: number;
  epsilon: number;
  /** Decoupled: each update also multiplies the parameter by 1 − lr · weightDecay. */
  weightDecay: number;
}

export const ADAMW_DEFAULTS: AdamWOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-4 };

/** Step count and the running first and second moments. */
export interface AdamWState {
  step: number;
  readonly m: ReadonlyMap<string, HostTensor>;
  readonly v: ReadonlyMap<string, HostTensor>;
}

export function initAdamW(parameters: Parameters): AdamWState {
  return { step: 0, m: zerosLike(parameters), v: zerosLike(parameters) };
}

/**
 * One update, in place on `parameters` and `state`, as torch.optim.AdamW computes it:
 * θ ← θ·(1 − lr·λ) − lr · m̂ / (√v̂ + ε).
 */
export function updateAdamW(
  parameters: Parameters,
  gradients: Parameters,
  state: AdamWState,
  lr: number,
  options: AdamWOptions = ADAMW_DEFAULTS,
): void {
  const { beta1, beta2, epsilon, weightDecay } = options;
  state.step += 1;
  const rate = lr / (1 - beta1 ** state.step);
  const correction = 1 / Math.sqrt(1 - beta2 ** state.step);
  const keep = 1 - lr * weightDecay;
  for (const [name, parameter] of parameters) {
    const p = values(parameter);
    const g = values(gradients.get(name)!);
    const m = values(state.m.get(name)!);
    const v = values(state.v.get(name)!);
    for (let i = 0; i < p.length; i++) {
      const gi = g[i]!;
      const mi = beta1 * m[i]! + (1 - beta1) * gi;
      const vi = beta2 * v[i]! + (1 - beta2) * gi * gi;
      m[i] = mi;
      v[i] = vi;
      p[i] = p[i]! * keep - (rate * mi) / (Math.sqrt(vi) * correction + epsilon);
    }
  }
}

/** @file What methods and samplers see of a diffusion network, whatever it is made of. */
import type { Tensor } from '../graph/tensor.js';
import { concat } from '../graph/ops/layout.js';

/** Named tensors that tell what to make; the first axis of each is the batch. */
export type Condition = Readonly<Record<string, Tensor>>;

/**
 * What the network predicts (noise, velocity or sample, as it was trained) for noisy latents. One forward pass;
 * guidance is composed outside.
 *
 * @param latents [B, C, h, w]
 * @param timestep training time [B], float32
 * @returns [B, C, h, w]
 */
export type Denoiser = (latents: Tensor, timestep: Tensor, condition: Condition) => Tensor;

/** Two conditions as one of twice the batch, for guidance in one pass: first all of `a`, then all of `b`. */
export function joinConditions(a: Condition, b: Condition): Condition {
  return Object.fromEntries(Object.keys(a).map((name) => {
    const other = b[name];
    if (!other) throw new Error(`the second condition has no "${name}"`);
    return [name, concat([a[name]!, other], 0)];
  }));
}

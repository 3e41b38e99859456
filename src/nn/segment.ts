/** @file Activation checkpointing by segment (Chen et al., arXiv 1604.06174), switched on per model. */
import { checkpoint } from '../graph/grad.js';
import type { Tensor } from '../graph/tensor.js';

export interface SegmentOptions {
  /** Keep only the inputs of each segment for the backward pass and compute its inside again there. */
  checkpointing?: boolean;
}

/** Applies a pure function of one tensor, which may close over others. */
export type Segment = (f: (x: Tensor) => Tensor, x: Tensor) => Tensor;

/** Applies segments plainly, or checkpointed. */
export function segment({ checkpointing = false }: SegmentOptions = {}): Segment {
  if (!checkpointing) return (f, x) => f(x);
  return (f, x) => checkpoint((t) => [f(t!)], [x])[0]!;
}
